"""A text with marks: positions that keep pointing at the same character while the text around them is changed.

    Marked("a  b", (3,)).sub(re.compile("  "), " ")  ->  Marked("a b", (2,))

A mark inside of what is replaced moves behind the replacement. Without marks a change costs what it costs on a string.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

_STEPS_BACK = 64


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `text` in the place of the characters from `start` to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Marked:
    """`text`, and `marks` in ascending order with 0 <= mark <= len(text)."""

    text: str
    marks: tuple[int, ...] = ()

    def edited(self, edits: Sequence[Edit]) -> Marked:
        """All `edits` at once; they are in order and do not overlap."""
        pieces, position = [], 0
        for edit in edits:
            pieces += [self.text[position : edit.start], edit.text]
            position = edit.end
        return Marked("".join([*pieces, self.text[position:]]), _moved(self.marks, edits))

    def sub(self, pattern: re.Pattern[str], replacement: str) -> Marked:
        """As `pattern.sub(replacement, text)`; the replacement is taken literally."""
        if not self.marks:
            return Marked(pattern.sub(lambda _: replacement, self.text))
        return self.edited([Edit(*found.span(), replacement) for found in pattern.finditer(self.text)])

    def stripped(self, characters: str) -> Marked:
        """As `text.strip(characters)`."""
        start = len(self.text) - len(self.text.lstrip(characters))
        text = self.text.strip(characters)
        return Marked(text, tuple(min(max(mark - start, 0), len(text)) for mark in self.marks))

    def with_lines(self, change: Callable[[str], str]) -> Marked:
        """Each line as `change` makes it; in a changed line a mark stays between the same two words where it can."""
        lines = self.text.split("\n")
        changed = [change(line) for line in lines]
        if not self.marks or changed == lines:
            return Marked("\n".join(changed), self.marks)
        starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
        now = list(accumulate((len(line) + 1 for line in changed), initial=0))
        marks = []
        for mark in self.marks:
            index = min(bisect_right(starts, mark) - 1, len(lines) - 1)
            marks.append(now[index] + _within(lines[index], changed[index], mark - starts[index], change))
        return Marked("\n".join(changed), tuple(marks))


def _moved(marks: tuple[int, ...], edits: Sequence[Edit]) -> tuple[int, ...]:
    moved, shift, index = [], 0, 0
    for mark in marks:
        while index < len(edits) and edits[index].end <= mark and edits[index].start < mark:
            shift += len(edits[index].text) - (edits[index].end - edits[index].start)
            index += 1
        inside = index < len(edits) and edits[index].start < mark
        moved.append(edits[index].start + len(edits[index].text) + shift if inside else mark + shift)
    return tuple(moved)


def _within(old: str, new: str, position: int, change: Callable[[str], str]) -> int:
    """Where `position` of the line `old` is in `new`: where both halves, changed one by one, still make the whole."""
    if old == new:
        return position
    for split in range(position, max(position - _STEPS_BACK, -1), -1):
        head = change(old[:split])
        if head + change(old[split:]) == new:
            return len(head)
    if new.endswith(old[position:]):
        return len(new) - len(old) + position
    return min(position * len(new) // max(len(old), 1), len(new))
