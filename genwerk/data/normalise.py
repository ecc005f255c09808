"""One normal form for text, so that every span points into the same characters for ever.

Mojibake is mended line by line (ftfy); line ends become \\n; control characters, byte-order marks and soft hyphens go;
lone surrogates become U+FFFD; Unicode is composed (NFC); white space at line ends and blank lines at both ends go.
Quotes, dashes, ligatures and width stay as their author wrote them. Doing it twice changes nothing more.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ftfy import fix_encoding

_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ufeff\u00ad]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_TRAILING = re.compile(r"[^\S\n]+$", re.MULTILINE)
_MOST_ROUNDS = 16
_LONGEST_MENDED = 20_000


@dataclass(frozen=True, slots=True)
class Normalised:
    """The normal form, and what had to be mended beyond layout: (rule, detail) pairs for the ledger."""

    text: str
    changes: tuple[tuple[str, str], ...]


def normalise(text: str) -> Normalised:
    """The normal form of `text`."""
    changes: list[tuple[str, str]] = []
    if lone := len(_SURROGATES.findall(text)):
        changes.append(("lone surrogates", f"{lone} replaced by U+FFFD"))
    text, mended_lines = _mend(_SURROGATES.sub("\ufffd", text))  # before control characters go: they are half of it
    if controls := len(_CONTROLS.findall(text.lstrip("\ufeff"))):
        changes.append(("control characters", f"{controls} removed"))
    for _ in range(_MOST_ROUNDS):
        before = text
        text = _mend(_layout(text))[0]
        if text == before:
            break
    if mended_lines:
        changes.append(("mojibake", f"{mended_lines} lines mended"))
    return Normalised(text, tuple(changes))


def _layout(text: str) -> str:
    text = _CONTROLS.sub("", _NEWLINES.sub("\n", text))
    return _TRAILING.sub("", unicodedata.normalize("NFC", text)).strip("\n")


def _mend(text: str) -> tuple[str, int]:
    if text.isascii():
        return text, 0
    lines, mended = text.split("\n"), 0
    for index, line in enumerate(lines):
        if not line.isascii() and len(line) <= _LONGEST_MENDED and (fixed := fix_encoding(line)) != line:
            lines[index] = fixed
            mended += 1
    return "\n".join(lines), mended
