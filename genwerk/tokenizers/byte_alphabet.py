"""The alphabet of byte-level tokenizers: each of the 256 bytes has one printable letter.

Source: Radford et al. (2019), GPT-2, encoder.py. Printable Latin-1 stands for itself, the others take the letters
from U+0100 on.
"""

from __future__ import annotations

import re

__all__ = ["BYTE_OF_LETTER", "LETTER_OF_BYTE", "token_to_bytes"]


def _letters() -> dict[int, str]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in letters]
    return letters | {byte: chr(0x100 + number) for number, byte in enumerate(others)}


LETTER_OF_BYTE = _letters()
BYTE_OF_LETTER = {letter: byte for byte, letter in LETTER_OF_BYTE.items()}
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def token_to_bytes(piece: str) -> bytes:
    """The bytes a byte-level (or SentencePiece) token stands for."""
    if all(letter in BYTE_OF_LETTER for letter in piece):
        return bytes(BYTE_OF_LETTER[letter] for letter in piece)
    single = _BYTE_TOKEN.fullmatch(piece)
    if single:
        return bytes([int(single[1], 16)])
    return piece.replace("\u2581", " ").encode()
