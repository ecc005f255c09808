"""One normal form for text, so that every span points into the same characters for ever.

Mojibake is mended line by line (ftfy); line ends become \\n; control characters, byte-order marks and soft hyphens go;
lone surrogates become U+FFFD; Unicode is composed (NFC); white space at line ends and blank lines at both ends go.
Overrides and embeddings of direction (U+202A to U+202E, U+2066 to U+2069) go, for they show a reader another text than
a model reads; right-to-left script needs none of them, and the marks U+200E and U+200F stay.
Quotes, dashes, ligatures and width stay as their author wrote them. Doing it twice changes nothing more.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ftfy import fix_encoding

from genwerk.data.marked import Marked

_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ufeff\u00ad]")
_OVERRIDES = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_TRAILING = re.compile(r"[^\S\n]+$", re.MULTILINE)
_MOST_ROUNDS = 16
_LONGEST_MENDED = 20_000


@dataclass(frozen=True, slots=True)
class Normalised:
    """The normal form, what had to be mended beyond layout ((rule, detail) pairs for the ledger), and moved marks."""

    text: str
    changes: tuple[tuple[str, str], ...]
    marks: tuple[int, ...] = ()


def normalise(text: str, marks: tuple[int, ...] = ()) -> Normalised:
    """The normal form of `text`; `marks`, ascending positions in it, point at the same characters afterwards."""
    changes: list[tuple[str, str]] = []
    if lone := len(_SURROGATES.findall(text)):
        changes.append(("lone surrogates", f"{lone} replaced by U+FFFD"))
    read = Marked(_SURROGATES.sub("\ufffd", text), marks)
    marked = _mend(read)  # before control characters go: they are half of it
    mended_lines = _differing_lines(read.text, marked.text)
    if controls := len(_CONTROLS.findall(marked.text.lstrip("\ufeff"))):
        changes.append(("control characters", f"{controls} removed"))
    if overrides := len(_OVERRIDES.findall(marked.text)):
        changes.append(("direction overrides", f"{overrides} characters that turn the order of others were removed"))
    for _ in range(_MOST_ROUNDS):
        before = marked
        marked = _mend(_layout(marked))
        if marked.text == before.text:
            break
    if mended_lines:
        changes.append(("mojibake", f"{mended_lines} lines mended"))
    return Normalised(marked.text, tuple(changes), marked.marks)


def _layout(marked: Marked) -> Marked:
    marked = marked.sub(_NEWLINES, "\n").sub(_CONTROLS, "").sub(_OVERRIDES, "")
    if not unicodedata.is_normalized("NFC", marked.text):
        marked = marked.with_lines(lambda line: unicodedata.normalize("NFC", line))
    return marked.sub(_TRAILING, "").stripped("\n")


def _mend(marked: Marked) -> Marked:
    return marked if marked.text.isascii() else marked.with_lines(_mend_line)


def _differing_lines(one: str, other: str) -> int:
    return 0 if one == other else sum(a != b for a, b in zip(one.split("\n"), other.split("\n"), strict=False))


def _mend_line(line: str) -> str:
    return line if line.isascii() or len(line) > _LONGEST_MENDED else str(fix_encoding(line))
