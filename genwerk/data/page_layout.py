"""From pieces of text on a page to its lines in reading order: columns one after the other, tables as rows.

    rows      pieces on one base line (within 0.4 of their size) make a row; a gap of 1.5 sizes cuts it into segments,
              one of 0.8 sizes where four rows have theirs at the same x
    columns   a gutter is an x that few segments cross (one in five at most) with running text, 18 characters a
              segment and more, on both sides; what crosses it stands above or below the columns; columns are cut again
    words     a gap of a tenth of the size begins one, as in poppler; in spaced letters a gap wider than their median
    tables    two rows and more of two segments and more that fill the same columns, most of them aligned at left, right
              or centre; a lone segment straight below a cell goes on with it; rows in typewriter make none below
              a row in it

`_NEW_WORD` is clear of both sides: kerning stays below 0.09 sizes, the blanks of justified lines above 0.18.
x grows to the right, y upwards, both in points, as in PDF. Nothing is lost: what is neither column nor table is a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

_SAME_LINE, _NEW_WORD, _NEW_SEGMENT = 0.4, 0.1, 1.5
_LETTERS_APART, _FEWEST_LETTERS = 1.6, 4
_ALIGNED, _NEAR = 0.6, 0.3
_CENTRED, _NARROW_LANE = 0.9, 0.8
_MOST_BLANKS = 200
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
    """A line of its column, which reaches from `left` to `right`; `row` is true for a row of a table in Markdown.

    row    the lines of a cell are still lines of the text.
    pitch  the width of a letter where the whole line is in typewriter, its blanks kept; else 0.
    """

    x0: float
    x1: float
    y: float
    size: float
    text: str
    bold: bool = False
    left: float = 0.0
    right: float = 0.0
    row: bool = False
    pitch: float = 0.0


def page_lines(pieces: Iterable[Piece]) -> list[Line]:
    """The lines of a page in reading order."""
    rows = _rows(pieces)
    lanes = _lanes(rows)
    segments = [segment for row in rows for segment in _segments(row, lanes)]
    return _ordered(segments, _DEEPEST)


def _rows(pieces: Iterable[Piece]) -> list[list[Piece]]:
    rows: list[list[Piece]] = []
    top = 0.0
    for piece in sorted(map(_trimmed, filter(_is_seen, pieces)), key=lambda piece: -piece.y):
        size = max(piece.size, rows[-1][0].size) if rows else piece.size
        if rows and top - piece.y <= _SAME_LINE * size:
            rows[-1].append(piece)
        else:
            rows.append([piece])
            top = piece.y
    return [sorted(row, key=lambda piece: piece.x0) for row in rows]


def _is_seen(piece: Piece) -> bool:
    return bool(piece.text.strip())


def _trimmed(piece: Piece) -> Piece:
    """Without blanks at its ends, which take their part of its width."""
    text = piece.text.strip()
    if len(text) == len(piece.text):
        return piece
    blank = piece.blank or (piece.x1 - piece.x0) / len(piece.text)
    before = len(piece.text) - len(piece.text.lstrip())
    after = len(piece.text) - len(text) - before
    return replace(piece, x0=piece.x0 + before * blank, x1=piece.x1 - after * blank, text=text)


def _lanes(rows: Sequence[Sequence[Piece]]) -> list[float]:
    """Where narrow gaps of several rows stand one below the other, with few rows that go through: between columns."""
    gaps = [
        (before.x1, piece.x0)
        for row in rows
        for before, piece in pairwise(row)
        if piece.x0 - before.x1 >= _NARROW_LANE * piece.size
    ]
    places = Counter(round(right) - 1 for _, right in gaps)
    found: list[float] = []
    for x, often in places.items():
        through = sum(any(piece.x0 < x < piece.x1 for piece in row) for row in rows) if often >= _FEWEST_LINES else 0
        if often >= max(_FEWEST_LINES, through / 2):
            found.append(x)
    return found


def _segments(row: Sequence[Piece], lanes: Sequence[float]) -> list[Line]:
    groups: list[list[Piece]] = []
    for piece in row:
        last = groups[-1][-1] if groups else None
        if last and not _is_apart(last, piece, lanes):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [_merged(group) for group in groups]


def _is_apart(last: Piece, piece: Piece, lanes: Sequence[float]) -> bool:
    gap = piece.x0 - last.x1
    if gap > _NEW_SEGMENT * max(piece.size, last.size):
        return True
    return gap >= _NARROW_LANE * min(piece.size, last.size) and any(last.x1 <= x <= piece.x0 for x in lanes)


def _merged(group: Sequence[Piece]) -> Line:
    pitch = min(piece.pitch for piece in group)
    text, apart = group[0].text, _word_gap(group)
    for before, piece in pairwise(group):
        gap = piece.x0 - before.x1
        text += " " * blanks(gap, pitch) if pitch else " " * (gap > apart * piece.size)
        text += piece.text
    main = max(group, key=lambda piece: len(piece.text))
    bold = sum(len(piece.text) for piece in group if piece.bold) > len(text) / 2
    end = max(piece.x1 for piece in group)
    return Line(group[0].x0, end, main.y, main.size, text if pitch else " ".join(text.split()), bold, pitch=pitch)


def blanks(gap: float, pitch: float) -> int:
    """How many letters of typewriter a gap is wide; a line's width of them at most."""
    return round(min(max(0.0, gap / pitch), _MOST_BLANKS))


def _word_gap(group: Sequence[Piece]) -> float:
    """From which gap on a new word begins, in sizes; in a line of spaced letters a gap wider than most."""
    single = sum(len(piece.text) == 1 and piece.text.isalpha() for piece in group)
    if len(group) < _FEWEST_LETTERS or single < 0.8 * len(group):
        return _NEW_WORD
    gaps = ((piece.x0 - before.x1) / piece.size for before, piece in pairwise(group) if piece.size)
    return max(_NEW_WORD, _LETTERS_APART * median(gaps))


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
    rows = _shared_rows(segments)
    found: list[Line] = []
    index = 0
    while index < len(rows):
        end, columns = _table(rows, index)
        if columns:
            found += _table_lines(rows[index:end], columns)
        else:
            found += [line for row in rows[index:end] for line in _base_lines(row)]
        index = end
    return [replace(line, left=left, right=right) for line in found]


def _shared_rows(segments: Sequence[Line]) -> list[list[Line]]:
    """Segments on one base line; and those so near below, beside and not under them, that they centre in one row."""
    rows: list[list[Line]] = []
    for segment in sorted(segments, key=lambda segment: (-segment.y, segment.x0)):
        near = [one for one in rows[-1] if one.y - segment.y < _CENTRED * segment.size] if rows else []
        if near and all(one.x1 <= segment.x0 or segment.x1 <= one.x0 for one in near):
            rows[-1].append(segment)
        else:
            rows.append([segment])
    return rows


def _base_lines(row: Sequence[Line]) -> list[Line]:
    """The lines of a row that is none of a table."""
    lines: list[list[Line]] = []
    for segment in row:
        if lines and abs(lines[-1][0].y - segment.y) <= _SAME_LINE * segment.size:
            lines[-1].append(segment)
        else:
            lines.append([segment])
    return [_joined(line) for line in lines]


def _joined(row: Sequence[Line]) -> Line:
    row = sorted(row, key=lambda segment: segment.x0)
    pitch, text = min(one.pitch for one in row), row[0].text
    for before, one in pairwise(row):
        text += " " * max(1, blanks(one.x0 - before.x1, pitch) if pitch else 1) + one.text
    return replace(row[0], x1=max(one.x1 for one in row), text=text, pitch=pitch)


def _table(rows: Sequence[Sequence[Line]], start: int) -> tuple[int, list[tuple[float, float]]]:
    """Where the table that begins at row `start` ends, and its columns; the next row and none where there is none."""
    columns: list[tuple[float, float]] = []
    end = start
    for row in rows[start:]:
        if len(row) < 2 and not (columns and _goes_on(row[0], rows[end - 1], columns)):
            break
        spans = [(segment.x0, segment.x1) for segment in row]
        wider = _united([*columns, *spans])
        if columns and len(wider) < max(2, len(columns) - (len(row) < 2)):
            break
        columns, end = wider, end + 1
    whole = [row for row in rows[start:end] if len(row) > 1]
    return (end, columns) if _is_table(whole, columns) else (start + 1, [])


def _is_table(rows: Sequence[Sequence[Line]], columns: Sequence[tuple[float, float]]) -> bool:
    """Two rows and more whose cells in most columns begin, end or centre alike; in typewriter it is code."""
    code = [all(segment.pitch for segment in row) for row in rows]
    if len(rows) < 2 or (code[0] and sum(code) > len(rows) / 2):
        return False
    cells = [[one for row in rows for one in row if x0 <= one.x0 < x1] for x0, x1 in columns]
    return sum(_is_aligned(column) for column in cells if len(column) > 1) > sum(len(one) > 1 for one in cells) / 2


def _is_aligned(cells: Sequence[Line]) -> bool:
    edges = ([one.x0 for one in cells], [one.x1 for one in cells], [(one.x0 + one.x1) / 2 for one in cells])
    near = _NEAR * cells[0].size
    usual = [(xs, median(xs)) for xs in edges]
    return any(sum(abs(x - middle) <= near for x in xs) >= _ALIGNED * len(xs) for xs, middle in usual)


def _goes_on(segment: Line, above: Sequence[Line], columns: Sequence[tuple[float, float]]) -> bool:
    near = above[-1].y - segment.y <= 1.6 * segment.size
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
        for segment in row:
            place = next(index for index, (_, x1) in enumerate(columns) if segment.x0 < x1)
            now[place] = f"{now[place]}\n{segment.text}".strip().replace("|", "/")
        if len(row) == 1 and cells:
            cells[-1] = [f"{before}\n{more}".strip() for before, more in zip(cells[-1], now, strict=True)]
        else:
            cells.append(now)
            firsts.append(min(row, key=lambda segment: segment.x0))
    texts = ("| " + " | ".join(row) + " |" for row in cells)
    return [replace(first, text=text, row=True, bold=False) for first, text in zip(firsts, texts, strict=True)]
