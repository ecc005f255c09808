"""One file, read as it stood still.

    read_file(path, options, parse) -> FileRead(found, size, sha256)

A file is looked at before and after it is read. Where its size or time differ it was being written: it is read once
more, and left out if it changes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.hashing import sha256_file
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable, too_large
from genwerk.data.readers import READERS, STREAMED, reader_for

Found = RawDocument | Unreadable
Parse = Callable[[Path, str, ReadOptions], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class FileRead:
    """What is in a file, its size in bytes and its hash, which is empty where it was not read to its end."""

    found: list[Found]
    size: int = 0
    sha256: str = ""


def parse_here(path: Path, suffix: str, options: ReadOptions) -> Iterable[Found]:
    """What the reader of `suffix` finds, in this process."""
    return READERS[suffix](path, options)


def read_file(path: Path, options: ReadOptions, parse: Parse = parse_here) -> FileRead:
    """What `parse` finds in the file, or why it is left out. Raises DataError where an optional package is missing."""
    suffix = path.suffix.lower()
    if isinstance(known := reader_for(suffix), Unreadable):
        return FileRead([known])
    try:
        size = path.stat().st_size
        if size == 0:
            return FileRead([Unreadable("empty file", "zero bytes")])
        if size > options.max_bytes and suffix not in STREAMED:
            return FileRead([too_large(size, options)])
        read = _attempt(path, suffix, options, parse) or _attempt(path, suffix, options, parse)
    except OSError as error:
        return FileRead([Unreadable("unreadable", f"{error.strerror or error}; check its permissions and its disk")])
    changed = Unreadable("changed while read", "it changed twice; copy it, or wait until it is written")
    return read or FileRead([changed])


def _attempt(path: Path, suffix: str, options: ReadOptions, parse: Parse) -> FileRead | None:
    """None where the file changed meanwhile."""
    before = path.stat()
    found = list(parse(path, suffix, options))
    sha256 = sha256_file(path)
    after = path.stat()
    same = (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)
    return FileRead(found, after.st_size, sha256) if same else None
