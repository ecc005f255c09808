"""What each line of a page is: a row of a table, code, a heading with its level, or text.

    code       lines in typewriter, two of them or more in a run, or one with room above and below; not where most of
               the document is in typewriter
    headings   titles of the outline by depth; lines in letters 1.15 times the body's and larger, by rank of size;
               where they stand alone also lines in letters 1.08 times as large, and bold ones one level below

A line stands alone where nothing runs into it from above and no more than one line of its kind goes on with it; it has
80 letters at most, does not end as a sentence does, is no line of contents, no head of a table, and no term, which
is an indented line that text goes on below, deeper still.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from statistics import quantiles

from genwerk.data.page_layout import Line

LEADER = re.compile(r"(?:\. ?){4,}\w{1,6}$")
_TIGHT = 1.2
_LARGER, _A_LITTLE_LARGER = 1.15, 1.08
_LONGEST_HEADING, _LONGEST_TITLE, _MOST_TITLE_LINES = 200, 80, 2
_ENDS_SENTENCE = re.compile(r"[.,;:!]$")
_LETTER = re.compile(r"[^\W\d]")
_BOLD_IS_RARE, _CODE_IS_RARE = 0.3, 0.5


class LineKinds:
    """Knows the letters of the whole document, to say what a line of it is."""

    def __init__(self, lines: Sequence[Line], outline: Mapping[str, int]) -> None:
        self._outline = outline
        sizes: Counter[float] = Counter()
        for line in lines:
            sizes[_rounded(line)] += len(line.text)
        letters = max(1, sizes.total())
        self._body = sizes.most_common(1)[0][0] if sizes else 0.0
        larger = {_rounded(line) for line in lines if self._is_large(line) or self._is_larger(line)}
        self._ranks = {size: rank for rank, size in enumerate(sorted(larger, reverse=True), start=1)}
        self._bold_is_rare = _letters(line for line in lines if line.bold) < _BOLD_IS_RARE * letters
        self._code_is_rare = _letters(line for line in lines if line.pitch) < _CODE_IS_RARE * letters

    def of_page(self, lines: Sequence[Line], leading: float) -> list[str]:
        """`row`, `code`, `heading 2` or `text` for each line of a page; `leading` is in sizes."""
        code = self._code(lines, leading)
        return [
            "row" if line.row else "code" if index in code else self._written(lines, index, leading)
            for index, line in enumerate(lines)
        ]

    def _written(self, lines: Sequence[Line], index: int, leading: float) -> str:
        line = lines[index]
        level = self._outline.get(line.text.lower(), 0)
        larger = self._is_larger(line)
        title = larger or (self._bold_is_rare and line.bold and _may_be_title(line))
        if not level and (self._is_large(line) or (title and _stands_alone(lines, index, leading))):
            level = self._ranks.get(_rounded(line), len(self._ranks) + 1)
        return f"heading {min(level, 6)}" if level else "text"

    def _is_large(self, line: Line) -> bool:
        large = _rounded(line) >= _LARGER * self._body > 0 and not (line.pitch and not line.bold)
        return large and bool(_LETTER.search(line.text)) and len(line.text) <= _LONGEST_HEADING

    def _is_larger(self, line: Line) -> bool:
        return _rounded(line) >= _A_LITTLE_LARGER * self._body > 0 and _may_be_title(line)

    def _code(self, lines: Sequence[Line], leading: float) -> set[int]:
        found: set[int] = set()
        if not self._code_is_rare:
            return found
        for typewriter, run in groupby(range(len(lines)), key=lambda index: self._is_typed(lines[index])):
            indices = list(run)
            if typewriter and (len(indices) > 1 or _has_room(lines, indices[0], leading)):
                found.update(indices)
        return found

    def _is_typed(self, line: Line) -> bool:
        return line.pitch > 0 and not line.row and not self._is_large(line) and line.text.lower() not in self._outline


def usual_leading(lines: Sequence[Line]) -> float:
    """The usual distance of base lines in a paragraph, in sizes."""
    pairs = [(above, below) for above, below in pairwise(lines) if not (above.row or below.row) and below.size > 0]
    gaps = [gap for above, below in pairs if 0.5 < (gap := (above.y - below.y) / below.size) < 3]
    if not gaps:
        return 1.3
    return min(quantiles(gaps, n=4, method="inclusive")[0] if len(gaps) > 1 else gaps[0], 1.3 if len(gaps) < 3 else 2.2)


def _letters(lines: Iterable[Line]) -> int:
    return sum(len(line.text) for line in lines)


def _rounded(line: Line) -> float:
    return round(line.size * 2) / 2


def _has_room(lines: Sequence[Line], index: int, leading: float) -> bool:
    return not _touches(lines, index - 1, index, leading) and not _touches(lines, index, index + 1, leading)


def _touches(lines: Sequence[Line], above: int, below: int, leading: float) -> bool:
    """Two lines follow one another as in a paragraph."""
    if above < 0 or below >= len(lines):
        return False
    return 0 < lines[above].y - lines[below].y <= _TIGHT * leading * min(lines[above].size, lines[below].size)


def _may_be_title(line: Line) -> bool:
    short = not line.pitch and not line.row and len(line.text) <= _LONGEST_TITLE
    return short and not _ENDS_SENTENCE.search(line.text) and bool(_LETTER.search(line.text))


def _stands_alone(lines: Sequence[Line], index: int, leading: float) -> bool:
    line, first, last = lines[index], index, index
    while first and index - first < _MOST_TITLE_LINES and _runs_on(lines, first - 1, leading, line):
        first -= 1
    while last + 1 < len(lines) and last - index < _MOST_TITLE_LINES and _runs_on(lines, last, leading, line):
        last += 1
    above = lines[first - 1] if first else None
    below = lines[last + 1] if last + 1 < len(lines) else None
    if last - first >= _MOST_TITLE_LINES or (above and _touches(lines, first - 1, first, leading)):
        return False
    if any(one and (LEADER.search(one.text) or (one.row and one is below)) for one in (above, line, below)):
        return False
    indented = line.x0 > line.left + 0.9 * line.size
    return not (below and indented and below.x0 > line.x0 + 0.9 * line.size and below.y < line.y)


def _runs_on(lines: Sequence[Line], above: int, leading: float, like: Line) -> bool:
    """A line and the next are both set as `like` is, and follow one another."""
    pair = lines[above : above + 2]
    alike = all(one.bold == like.bold and not one.row and abs(one.size - like.size) < 0.5 for one in pair)
    return alike and _touches(lines, above, above + 1, leading)
