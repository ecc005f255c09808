"""Headers, footers and page numbers: what the pages of a document repeat, or count, at their tops and bottoms.

repeated   the same text, in up to 60 characters but for digits, at the same height of two pages in five (three at
           least)
counting   a number that is off from the page's by what most such numbers are off: alone in its line; in a short
           line that comes twice; or at a height where three more lines count; small Roman numbers alone
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from genwerk.data.page_layout import Line

_REPEATED, _FEWEST_PAGES = 0.4, 3
_EDGE_LINES = 2
_LONGEST_COUNTING = 60
_NUMBER_AT_END = re.compile(r"(?:(?<=^)|(?<=^\W\s)|(?<=\s))\d{1,6}(?=\s\W$|$)|^\d{1,6}(?=\s)")
_ROMAN = re.compile(r"[ivxlc]{1,8}")
_ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_Edges = dict[tuple[bool, int, str], list[tuple[int, Line]]]
"""At the top?, height, text with # for numbers: (page, line)."""


def running_lines(pages: Mapping[int, Sequence[Line]]) -> set[tuple[int, int]]:
    """(page, id of line) of headers, footers and page numbers."""
    if len(pages) < _FEWEST_PAGES:
        return set()
    found: _Edges = defaultdict(list)
    for page, lines in pages.items():
        by_height = sorted(lines, key=lambda line: -line.y)
        edges = [(True, line) for line in by_height[:_EDGE_LINES]]
        edges += [(False, line) for line in by_height[_EDGE_LINES:][-_EDGE_LINES:]]
        for top, line in edges:
            found[top, round(line.y / 4), re.sub(r"\d+", "#", line.text.lower())].append((page, line))
    gone: set[tuple[int, int]] = set()
    for (_, _, key), where in found.items():
        often = len({page for page, _ in where}) >= max(_FEWEST_PAGES, _REPEATED * len(pages))
        if often and _is_running(key, where):
            gone |= {(page, id(line)) for page, line in where}
    gone |= _counting(found, _shifts) | _counting(found, _roman_shifts)
    emptied = sum(all((page, id(line)) in gone for line in lines) for page, lines in pages.items())
    return gone if emptied <= len(pages) / 2 else set()  # pages of one line each have no headers


def _counting(found: _Edges, shifts_of: Callable[[int, Line], set[int]]) -> set[tuple[int, int]]:
    """Lines whose number counts the pages, as three pages and more agree: alone, twice, or where others count too."""
    shifts = Counter(shift for where in found.values() for page, line in where for shift in shifts_of(page, line))
    best = shifts.most_common(1)
    if not best or best[0][1] < _FEWEST_PAGES:
        return set()
    gone: set[tuple[int, int]] = set()
    heights: dict[tuple[bool, int], list[tuple[int, int]]] = defaultdict(list)
    for (top, height, key), where in found.items():
        counting = [(page, id(line)) for page, line in where if best[0][0] in shifts_of(page, line)]
        heights[top, height] += counting
        if re.fullmatch(r"\W*#\W*", key) or len(counting) > 1:
            gone.update(counting)
    return gone.union(*(lines for lines in heights.values() if len(lines) > _FEWEST_PAGES))


def _shifts(page: int, line: Line) -> set[int]:
    """What a number at the start or the end of a short line would be off from the page's."""
    if len(line.text) > _LONGEST_COUNTING:
        return set()
    return {int(number) - page for number in _NUMBER_AT_END.findall(line.text)}


def _roman_shifts(page: int, line: Line) -> set[int]:
    """The same for a small Roman number that is all of the line."""
    if not _ROMAN.fullmatch(line.text):
        return set()
    digits = [_ROMAN_DIGITS[letter] for letter in line.text]
    return {sum(-one if one < after else one for one, after in zip(digits, [*digits[1:], 0], strict=True)) - page}


def _is_running(key: str, where: Sequence[tuple[int, Line]]) -> bool:
    if len({line.text for _, line in where}) == 1:
        return True
    return len(key) <= _LONGEST_COUNTING and (bool(re.search(r"[^\W\d]", key)) or _counts_pages(where))


def _counts_pages(where: Sequence[tuple[int, Line]]) -> bool:
    numbers = [(page, re.search(r"\d+", line.text)) for page, line in where]
    shifts = Counter(int(number.group()[:9]) - page for page, number in numbers if number)
    return bool(shifts) and max(shifts.values()) > len(where) / 2
