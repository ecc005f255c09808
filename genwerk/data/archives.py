"""Packed formats (DOCX, PPTX, XLSX, EPUB) are ZIP archives: what is hostile in one is found before a parser sees it.

    all parts together   at most ten times `max_bytes`; counted while unpacking, whatever sizes the archive claims
    one part of XML      at most `max_bytes`, for a parser holds it as a tree of several times its size
    entities             no part of XML may declare any (`<!ENTITY`): none of the formats needs them, and ten lines of
                         them make gigabytes (billion laughs)
    passwords            an encrypted part, or an OLE file in its place, is an encrypted document

Archives inside of archives are not unpacked at all.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from genwerk.data.raw import RawDocument, ReadOptions, Unreadable, damaged

Parse = Callable[[io.BytesIO], Iterable[RawDocument | Unreadable]]

_UNPACKED = 10
_BLOCK = 1 << 20
_OLE = b"\xd0\xcf\x11\xe0"
_XML = (".xml", ".rels", ".opf", ".ncx", ".xhtml", ".html", ".htm", ".vml")
_ENTITY = (b"<!ENTITY", "<!ENTITY".encode("utf-16-le"), "<!ENTITY".encode("utf-16-be"))
_MOST_PARTS = 100_000
_ENCRYPTED = 0x1


def read_archive(kind: str, path: Path, options: ReadOptions, parse: Parse) -> list[RawDocument | Unreadable]:
    """What `parse` makes of the archive, unless something in it is hostile or damaged."""
    data = path.read_bytes()
    if problem := refuse_archive(kind, data, options):
        return [problem]
    try:
        return list(parse(io.BytesIO(data)))
    except Exception as error:  # a damaged part makes a parser raise almost anything
        return [damaged(kind, error)]


def refuse_archive(kind: str, data: bytes, options: ReadOptions) -> Unreadable | None:
    """Why the archive `data` is not given to a parser of `kind`; None where it may be."""
    if data.startswith(_OLE):
        return Unreadable(
            f"encrypted {kind}", f"encrypted, or an old Office file; save it as {kind} without a password"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _refuse_parts(kind, archive, options)
    except Exception as error:  # a damaged archive makes zipfile and the decompressors raise almost anything
        return damaged(kind, error)


def _refuse_parts(kind: str, archive: zipfile.ZipFile, options: ReadOptions) -> Unreadable | None:
    parts = archive.infolist()
    limit = _UNPACKED * options.max_bytes
    if len(parts) > _MOST_PARTS:
        return Unreadable("too large", f"{len(parts):,} parts; {_MOST_PARTS:,} at most are unpacked")
    claimed = sum(part.file_size for part in parts)
    if claimed > limit:
        return Unreadable(
            "too large", f"it unpacks to {claimed / 1e6:,.0f} MB, over {_UNPACKED} times data.max_file_bytes"
        )
    total = 0
    for part in parts:
        if part.flag_bits & _ENCRYPTED:
            return Unreadable(f"encrypted {kind}", "it needs a password; save it without one")
        is_xml = part.filename.lower().endswith(_XML)
        size, hostile = _unpacked(archive, part, min(limit - total, options.max_bytes if is_xml else limit), is_xml)
        total += size
        if hostile:
            return Unreadable("hostile XML", f"{part.filename} declares entities; no such document needs them")
        if total > limit or (is_xml and size > options.max_bytes):
            return Unreadable("too large", f"{part.filename} unpacks to more than data.max_file_bytes allows")
    return None


def _unpacked(archive: zipfile.ZipFile, part: zipfile.ZipInfo, most: int, is_xml: bool) -> tuple[int, bool]:
    """How many bytes come out of a part (a little over `most` at most), and whether it declares entities."""
    size, tail = 0, b""
    with archive.open(part) as stream:
        while size <= most and (block := stream.read(_BLOCK)):
            size += len(block)
            seen = tail + block
            if is_xml and any(mark in seen for mark in _ENTITY):
                return size, True
            tail = seen[-32:]
    return size, False
