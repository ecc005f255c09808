"""A sheet of music as a file holds it: parts of notes, in quarters from the start, before any grid is laid on it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Part", "Sheet", "SheetNote", "UnreadableSheetError"]


class UnreadableSheetError(Exception):
    """Why a file gives no sheet of music, in words."""


@dataclass(frozen=True, slots=True)
class SheetNote:
    """A note that sounds at MIDI number `pitch` (60 is middle C), ties joined; start and length in quarters."""

    pitch: int
    start: Fraction
    length: Fraction

    @property
    def end(self) -> Fraction:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the sheet, in the order of starts; notes that start together are a chord. The name may be empty."""

    name: str
    notes: tuple[SheetNote, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """Parts that have notes. metres: each one written, as "3/4", without repetition in a row.

    pickup  quarters that the first bar is short of, so that `pickup + start` counts from a bar line
    bars    where each bar begins, in quarters; none where a file has no bars
    """

    parts: tuple[Part, ...]
    metres: tuple[str, ...]
    pickup: Fraction = Fraction(0)
    bars: tuple[Fraction, ...] = ()
