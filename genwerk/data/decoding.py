"""Bytes to text: find out how a file is encoded, and say so when it is not plain UTF-8.

A byte-order mark decides; else valid UTF-8 is UTF-8; else bytes that are not are read one by one as Windows-1252 (which
covers Latin-1), and U+FFFD stands where even that has no character. Mojibake inside is mended later, in `normalise`.
UTF-16 without a mark is known by its zero bytes standing on one side.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAGIC = {
    b"%PDF-": "a PDF", b"PK\x03\x04": "a ZIP archive", b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image", b"\x7fELF": "a program", b"\x1f\x8b": "gzip data", b"MZ\x90": "a program",
    b"\xd0\xcf\x11\xe0": "an old Office file", b"SQLite format 3\0": "a database", b"PAR1": "a Parquet file",
}  # fmt: skip
_HEAD = 8192
LINE_END = re.compile("\r\n|[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
"""What ends a line: all that `normalise` makes a newline of."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text, the encoding it was read as, and what had to be done to read it (empty for clean UTF-8)."""

    text: str
    encoding: str
    note: str


def looks_binary(data: bytes) -> str:
    """Why these bytes (or their first 8 kB) are not text; empty when they may be."""
    head = data[:_HEAD]
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return f"the content is {name}"
    if marked_encoding(head) or _unmarked_utf16(head):
        return ""
    zeros = head.count(0)
    controls = sum(byte < 32 and byte not in (9, 10, 12, 13, 27) for byte in head) - zeros
    if zeros > len(head) // 1000 or controls > len(head) // 20:
        return f"{zeros} zero bytes and {controls} control characters in the first {len(head)} bytes"
    return ""


def marked_encoding(head: bytes) -> str:
    """The encoding that a byte-order mark at the start names; empty when there is none."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "")


def byte_mark(data: bytes) -> bytes:
    """The byte-order mark that `data` begins with; empty when there is none."""
    return next((mark for mark, _ in _MARKS if data.startswith(mark)), b"")


def decode(data: bytes) -> Decoded:
    """Text of `data`; never fails."""
    name = marked_encoding(data)
    if name:
        text = data[len(byte_mark(data)) :].decode(name, "replace")
        lost = text.count("\ufffd")
        note = "" if name == "utf-8" and not lost else f"read as {name}" + (f", {lost} characters lost" if lost else "")
        return Decoded(text, name, note)
    if guessed := _unmarked_utf16(data[:_HEAD]):
        return Decoded(data.decode(guessed, "replace"), guessed, f"read as {guessed} (no byte-order mark)")
    try:
        return Decoded(data.decode("utf-8"), "utf-8", "")
    except UnicodeDecodeError:
        return _decode_mixed(data)


def _decode_mixed(data: bytes) -> Decoded:
    text = data.decode("utf-8", "surrogateescape")
    wrong = sum("\udc80" <= character <= "\udcff" for character in text)
    whole = sum(character > "\x7f" for character in text) - wrong
    table = {0xDC00 + byte: bytes([byte]).decode("cp1252", "replace") for byte in range(0x80, 0x100)}
    repaired = text.translate(table)
    if whole:
        return Decoded(repaired, "utf-8", f"{wrong} bytes that are not UTF-8 were read as cp1252")
    return Decoded(repaired, "cp1252", "not UTF-8, read as cp1252")


def _unmarked_utf16(head: bytes) -> str:
    pairs = len(head) // 2
    if pairs < 8:
        return ""
    even, odd = head[: 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if odd > 0.4 * pairs and even < 0.02 * pairs:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * pairs and odd < 0.02 * pairs else ""
