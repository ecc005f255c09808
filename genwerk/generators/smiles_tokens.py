"""What each token of a SMILES is, and how many bonds an atom bears.

Source: Weininger (1988); valences as RDKit's sanitisation has them (Landrum et al.).

An atom with a charge bears what its neighbour in the periodic table does: [N+] four bonds as C, [O-] one as F. What its
bracket says of hydrogen is taken off.

An aromatic atom has `bonds` places for single or aromatic bonds, and one `need`:

    must    one of its aromatic bonds is the double one of a Kekulé structure: c, [n+], [o+]
    may     so, unless all its places are taken: n, p, b
    never   o, s, [nH], [n-]

Left out: `*`, `~`, `$`, `:`, and metals with bonds; such a token is never allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["ORDERS", "Atom", "Bond", "Mark", "Ring", "Token", "read_token"]

Need = Literal["never", "must", "may"]

_BRACKET = re.compile(
    r"\[(?P<isotope>\d+)?(?P<symbol>[A-Z][a-z]?|se|as|[bcnops])(?P<turn>@{1,2})?(?P<hydrogen>H\d?)?"
    r"(?P<charge>\++\d?|-+\d?)?(?P<number>:\d+)?\]"
)
_ORGANIC = ("B", "C", "N", "O", "P", "S", "F", "Cl", "Br", "I", "b", "c", "n", "o", "p", "s")
_GROUPS = (
    ("B", "Al", "Ga"), ("C", "Si", "Ge", "Sn"), ("N", "P", "As", "Sb"), ("O", "S", "Se", "Te"), ("F", "Cl", "Br", "I"),
)  # fmt: skip
_VALENCES = ((3, 3), (4, 4), (3, 5), (2, 6), (1, 1), (0, 0))  # of a group: in its second period, and below it
_SIGNS = {"-": "-", "=": "=", "#": "#", "/": "-", "\\": "-"}
ORDERS = {"": 1, "-": 1, "=": 2, "#": 3}


@dataclass(frozen=True, slots=True)
class Atom:
    """bonds: the orders it bears in all; of an aromatic one the places for bonds. oxo: a double bond may leave it."""

    bonds: int
    aromatic: bool = False
    need: Need = "never"
    oxo: bool = False


@dataclass(frozen=True, slots=True)
class Bond:
    """A bond that is written: `-` for every single one, whichever way it slants, `=` or `#`."""

    sign: str

    @property
    def order(self) -> int:
        return ORDERS[self.sign]


@dataclass(frozen=True, slots=True)
class Ring:
    """The digit that opens or closes a ring bond."""

    number: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A bracket of a branch, the full stop between molecules, or the end."""

    sign: Literal["(", ")", ".", "end"]


Token = Atom | Bond | Ring | Mark


def read_token(text: str) -> Token | None:
    """What a token is; None for what this grammar does not hold, such as `<pad>`."""
    if text in _SIGNS:
        return Bond(_SIGNS[text])
    if text.isdecimal() and len(text) == 1:
        return Ring(int(text))
    if len(text) == 3 and text[0] == "%" and text[1:].isdecimal():
        return Ring(int(text[1:]))
    for sign in ("(", ")", "."):
        if text == sign:
            return Mark(sign)
    if text == "<end>":
        return Mark("end")
    if text in _ORGANIC:
        return _atom(text, 0, 0, bracket=False)
    if (match := _BRACKET.fullmatch(text)) is None:
        return None
    hydrogen = int(match["hydrogen"][1:] or 1) if match["hydrogen"] else 0
    return _atom(match["symbol"], hydrogen, _charge(match["charge"] or ""), bracket=True)


def _charge(text: str) -> int:
    if not text:
        return 0
    digits = text.lstrip("+-")
    return (1 if text[0] == "+" else -1) * (int(digits) if digits else len(text))


def _atom(symbol: str, hydrogen: int, charge: int, *, bracket: bool) -> Atom | None:
    if symbol == "H":
        return Atom(1) if not hydrogen and not charge else None
    element = symbol.capitalize()
    place = next(((row, group.index(element)) for row, group in enumerate(_GROUPS) if element in group), None)
    if place is None:
        return Atom(0) if bracket and charge > 0 and not hydrogen else None  # an ion of a metal, alone
    row, period = place[0] - charge, min(place[1], 1)
    if not 0 <= row < len(_VALENCES):
        return None
    bonds = _VALENCES[row][period] - hydrogen
    if symbol[0].isupper():
        return Atom(bonds) if bonds >= 0 else None
    return _aromatic(row, hydrogen, symbol)


def _aromatic(row: int, hydrogen: int, symbol: str) -> Atom | None:
    """By the group whose bonds it has: three places as C, N or B do, two where a pair of electrons is in the ring."""
    if hydrogen > 1 or row > 3:
        return None
    if row == 1:
        return Atom(3 - hydrogen, True, "must", oxo=symbol == "c" and not hydrogen)
    if row == 3:
        return Atom(2, True) if not hydrogen else None
    return Atom(2, True) if hydrogen else Atom(3, True, "may")
