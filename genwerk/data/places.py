"""Where in its file a passage stands: page, slide, sheet, chapter or line, and for text files the bytes themselves.

    place_of(document, 2100)          -> "page 12"
    place_of_span(document, 0, 2100)  -> "pages 11-12"
    source_bytes(document, data, start, end) -> SourceBytes(first, last, exact)

Two fields of `Document.metadata`, both strings, hold what is known; a document has one of them or none:

    places      JSON, [[position in the text, label], ...], ascending; each holds from there up to the next
    first_line  number of the line of the file that the text begins with: its lines are the file's, one to one

Exact: `places` of pages, slides, sheets and chapters, and lines under `first_line`. Less exact: a place `line 12` of
HTML is the line its block begins in. `source_bytes` is exact to the byte where the quotation was not changed on its way
in (line ends apart), and says `exact=False` and gives the whole lines where mending, redaction or composition changed
it. Formats that are packed or drawn (PDF, Office, EPUB, e-mail) have no bytes that are their text: None.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from genwerk.core.errors import DataError
from genwerk.core.types import Document
from genwerk.data.decoding import LINE_END, byte_mark

_EMPTY_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """From position `start` on the text is of the part `label` of its file: `page 12`, `slide 3`, `sheet Prices`."""

    start: int
    label: str


@dataclass(frozen=True, slots=True)
class SourceBytes:
    """data[start:end] of the source file; not `exact`: the whole lines that the passage was made of."""

    start: int
    end: int
    exact: bool


def places_field(places: Iterable[Place], length: int) -> str:
    """`places` as they are stored, for a text of `length` characters; those without a character are left out."""
    kept: list[list[int | str]] = []
    for place in places:
        if kept and kept[-1][0] == place.start:
            kept.pop()
        if place.start < length and (not kept or kept[-1][1] != place.label):
            kept.append([place.start, place.label])
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")) if kept else ""


def first_line(raw: str, text: str, line: int) -> int:
    """The line of the file that `text`, the normal form of `raw`, begins with, where `raw` begins at `line`.

    0 where the lines of the two are not the same in number.
    """
    lines = LINE_END.split(raw)
    empty = [not any(map(str.isprintable, piece.strip())) for piece in lines[:_EMPTY_AT_MOST]]
    before = next((index for index, nothing in enumerate(empty) if not nothing), 0)
    after = next((index for index, piece in enumerate(reversed(lines)) if any(map(str.isprintable, piece.strip()))), 0)
    return line + before if len(lines) - before - after == text.count("\n") + 1 else 0


def places_of(document: Document) -> tuple[Place, ...]:
    """All places of the document, in order."""
    return _parse(document.metadata.get("places", ""))


def place_of(document: Document, position: int) -> str:
    """The place of one character, such as `page 12`; empty where the document has none."""
    if line := _line(document, position):
        return f"line {line}"
    places = places_of(document)
    index = bisect_right(places, position, key=lambda place: place.start) - 1
    return places[index].label if index >= 0 else ""


def place_of_span(document: Document, start: int, end: int) -> str:
    """The places of text[start:end]: `page 12`, `pages 12-13`, `sheet Prices to sheet Parts`, or empty."""
    first, last = place_of(document, start), place_of(document, max(start, end - 1))
    if first == last or not first:
        return last
    kind, _, number = first.rpartition(" ")
    other, _, until = last.rpartition(" ")
    if kind == other and kind.isalpha() and number.isdigit() and until.isdigit():
        return f"{kind}s {number}-{until}"
    return f"{first} to {last}"


def source_bytes(document: Document, data: bytes, start: int, end: int) -> SourceBytes | None:
    """Where text[start:end] stands in `data`, the bytes of the source file; None for formats without lines.

    Raises DataError where `data` is not the file that was read.
    """
    first = _line(document, start)
    if not first:
        return None
    if hashlib.sha256(data).hexdigest() != document.metadata.get("file_sha256"):
        remedy = "The passage can be found in the version that was read only."
        raise DataError("the file is not the one that was read", where=document.source, remedy=remedy)
    head = len(byte_mark(data))
    codec = _codec(data[head:], document.metadata)
    if codec is None:
        return None
    raw = data[head:].decode(*codec)
    starts = [0, *(found.end() for found in LINE_END.finditer(raw))]
    last = first + document.text.count("\n", start, end)
    if last > len(starts):
        return None
    line_end = starts[last] if last < len(starts) else len(raw)
    exact = _exact(document.text, raw, start, end, starts[first - 1], starts[last - 1])
    begin, stop = exact or (starts[first - 1], line_end)
    at = head + len(raw[:begin].encode(*codec))
    return SourceBytes(at, at + len(raw[begin:stop].encode(*codec)), exact is not None)


def _exact(text: str, raw: str, start: int, end: int, first: int, last: int) -> tuple[int, int] | None:
    """The passage in the raw text where it stands in the same columns of the same lines, unchanged."""
    begin = first + start - (text.rfind("\n", 0, start) + 1)
    stop = last + end - (text.rfind("\n", 0, end) + 1)
    read = LINE_END.sub("\n", raw[begin:stop])
    same = [line.rstrip() for line in read.split("\n")] == [line.rstrip() for line in text[start:end].split("\n")]
    return (begin, stop) if same else None


def _codec(data: bytes, metadata: Mapping[str, str]) -> tuple[str, str] | None:
    """Encoding and error handler that turn the bytes into text and back without loss."""
    for codec in ((metadata.get("encoding", "utf-8"), "strict"), ("utf-8", "surrogateescape")):
        try:
            if data.decode(*codec).encode(*codec) == data:
                return codec
        except UnicodeError:
            continue
    return None


def _line(document: Document, position: int) -> int:
    first = document.metadata.get("first_line", "")
    return int(first) + document.text.count("\n", 0, position) if first else 0


@lru_cache(maxsize=256)
def _parse(stored: str) -> tuple[Place, ...]:
    return tuple(Place(start, label) for start, label in json.loads(stored)) if stored else ()
