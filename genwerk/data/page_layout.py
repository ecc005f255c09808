"""From pieces of text on a page to its lines in reading order: columns one after the other, tables as rows.

    rows      pieces on one base line (within 0.4 of their size) make a row; a gap of 1.5 sizes cuts it into segments
    columns   a gutter is an x that few segments cross (one in five at most) with running text, 18 characters a
              segment and more, on both sides; what crosses it stands above or below the columns; columns are cut again
    tables    two rows and more of two segments and more that fill the same columns; a lone segment straight below a
              cell goes on with it

x grows to the right, y upwards, both in points, as in PDF. Nothing is lost: what is neither column nor table is a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

_SAME_LINE, _NEW_WORD, _NEW_SEGMENT = 0.4, 0.15, 1.5
_RUNNING_TEXT = 18
_FEWEST_LINES = 4
_MOST_CROSSING = 0.2
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text from x0 to x1 on the base line y, in letters of `size`.

    pitch  width of a letter where all have the same (typewriter), else 0; blank: width of the font's blank, 0: unknown.
    """

    x0: float
    x1: float
    y: float
    size: float
    text: str
    bold: bool = False
    pitch: float = 0.0
    blank: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line of its column, which reaches from `left` to `right`; `row` is true for a row of a table in Markdown."""

    x0: float
    x1: float
    y: float
    size: float
    text: str
    bold: bool = False
    left: float = 0.0
    right: float = 0.0
    row: bool = False


def page_lines(pieces: Iterable[Piece]) -> list[Line]:
    """The lines of a page in reading order."""
    segments = [segment for row in _rows(pieces) for segment in _segments(row)]
    return _ordered(segments, _DEEPEST)


def _rows(pieces: Iterable[Piece]) -> list[list[Piece]]:
    rows: list[list[Piece]] = []
    top = 0.0
    for piece in sorted((piece for piece in pieces if piece.text.strip()), key=lambda piece: -piece.y):
        size = max(piece.size, rows[-1][0].size) if rows else piece.size
        if rows and top - piece.y <= _SAME_LINE * size:
            rows[-1].append(piece)
        else:
            rows.append([piece])
            top = piece.y
    return [sorted(row, key=lambda piece: piece.x0) for row in rows]


def _segments(row: Sequence[Piece]) -> list[Line]:
    groups: list[list[Piece]] = []
    for piece in row:
        last = groups[-1][-1] if groups else None
        if last and piece.x0 - last.x1 <= _NEW_SEGMENT * max(piece.size, last.size):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [_merged(group) for group in groups]


def _merged(group: Sequence[Piece]) -> Line:
    text = ""
    for index, piece in enumerate(group):
        gap = piece.x0 - group[index - 1].x1 if index else 0.0
        text += " " * (gap > _NEW_WORD * piece.size) + piece.text
    main = max(group, key=lambda piece: len(piece.text))
    bold = sum(len(piece.text) for piece in group if piece.bold) > len(text) / 2
    end = max(piece.x1 for piece in group)
    return Line(group[0].x0, end, main.y, main.size, " ".join(text.split()), bold)


def _ordered(segments: list[Line], depth: int) -> list[Line]:
    gutter = _gutter(segments) if depth else None
    if gutter is None:
        return _zone(segments)
    found: list[Line] = []
    left: list[Line] = []
    right: list[Line] = []
    for segment in sorted(segments, key=lambda segment: -segment.y):
        if segment.x0 < gutter < segment.x1:
            found += [*_ordered(left, depth - 1), *_ordered(right, depth - 1), *_zone([segment])]
            left, right = [], []
        else:
            (left if segment.x1 <= gutter else right).append(segment)
    return [*found, *_ordered(left, depth - 1), *_ordered(right, depth - 1)]


def _gutter(segments: Sequence[Line]) -> float | None:
    """The x between two columns of running text; None where there is one column."""
    if len(segments) < 2 * _FEWEST_LINES:
        return None
    left, right = min(segment.x0 for segment in segments), max(segment.x1 for segment in segments)
    inner = (left + 0.15 * (right - left), right - 0.15 * (right - left))
    candidates = {round(segment.x0 / 2) * 2 - 3 for segment in segments if inner[0] < segment.x0 < inner[1]}
    best: tuple[int, float] | None = None
    for x in sorted(candidates):
        before = [segment for segment in segments if segment.x1 <= x]
        after = [segment for segment in segments if segment.x0 >= x]
        crossing = len(segments) - len(before) - len(after)
        if (
            crossing <= _MOST_CROSSING * len(segments)
            and _running(before)
            and _running(after)
            and _beside(before, after)
        ):
            best = min(best or (crossing, x), (crossing, x))
    return best[1] if best else None


def _running(segments: Sequence[Line]) -> bool:
    enough = len(segments) >= _FEWEST_LINES
    return enough and sum(len(segment.text) for segment in segments) >= _RUNNING_TEXT * len(segments)


def _beside(before: Sequence[Line], after: Sequence[Line]) -> bool:
    top = min(max(segment.y for segment in before), max(segment.y for segment in after))
    bottom = max(min(segment.y for segment in before), min(segment.y for segment in after))
    return top > bottom


def _zone(segments: Sequence[Line]) -> list[Line]:
    """Lines of one column from top to bottom, tables as rows."""
    if not segments:
        return []
    left, right = min(segment.x0 for segment in segments), max(segment.x1 for segment in segments)
    rows: list[list[Line]] = []
    for segment in sorted(segments, key=lambda segment: -segment.y):
        if rows and abs(rows[-1][0].y - segment.y) <= _SAME_LINE * segment.size:
            rows[-1].append(segment)
        else:
            rows.append([segment])
    found: list[Line] = []
    index = 0
    while index < len(rows):
        end, columns = _table(rows, index)
        if columns:
            found += _table_lines(rows[index:end], columns)
        else:
            found += [_joined(row) for row in rows[index:end]]
        index = end
    return [replace(line, left=left, right=right) for line in found]


def _joined(row: Sequence[Line]) -> Line:
    row = sorted(row, key=lambda segment: segment.x0)
    return replace(row[0], x1=max(one.x1 for one in row), text=" ".join(one.text for one in row))


def _table(rows: Sequence[Sequence[Line]], start: int) -> tuple[int, list[tuple[float, float]]]:
    """Where the table that begins at row `start` ends, and its columns; the next row and none where there is none."""
    columns: list[tuple[float, float]] = []
    end, whole = start, 0
    for row in rows[start:]:
        if len(row) < 2 and not (columns and _goes_on(row[0], rows[end - 1], columns)):
            break
        spans = [(segment.x0, segment.x1) for segment in row]
        wider = _united([*columns, *spans])
        if columns and len(wider) < max(2, len(columns) - (len(row) < 2)):
            break
        columns, end, whole = wider, end + 1, whole + (len(row) > 1)
    return (end, columns) if whole >= 2 else (start + 1, [])


def _goes_on(segment: Line, above: Sequence[Line], columns: Sequence[tuple[float, float]]) -> bool:
    near = above[0].y - segment.y <= 1.6 * segment.size
    return near and any(x0 - 1 <= segment.x0 and segment.x1 <= x1 + 1 for x0, x1 in columns)


def _united(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for x0, x1 in sorted(spans):
        if found and x0 < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], x1))
        else:
            found.append((x0, x1))
    return found


def _table_lines(rows: Sequence[Sequence[Line]], columns: Sequence[tuple[float, float]]) -> list[Line]:
    cells: list[list[str]] = []
    firsts: list[Line] = []
    for row in rows:
        now = [""] * len(columns)
        for segment in sorted(row, key=lambda segment: segment.x0):
            place = next(index for index, (_, x1) in enumerate(columns) if segment.x0 < x1)
            now[place] = f"{now[place]} {segment.text}".strip().replace("|", "/")
        if len(row) == 1 and cells:
            cells[-1] = [f"{before} {more}".strip() for before, more in zip(cells[-1], now, strict=True)]
        else:
            cells.append(now)
            firsts.append(min(row, key=lambda segment: segment.x0))
    texts = ("| " + " | ".join(row) + " |" for row in cells)
    return [replace(first, text=text, row=True, bold=False) for first, text in zip(firsts, texts, strict=True)]
