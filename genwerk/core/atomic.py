"""Files that are either the old or the new one, never half of each.

Written to a temporary file in the same directory, fsynced, renamed over the target, and the directory fsynced: after
`kill -9` or a power cut the reader finds one complete version. Every failure to write becomes one WorkspaceError that
names the file and the remedy, and leaves no temporary file behind.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from genwerk.core.errors import GenwerkError, WorkspaceError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = ("no space left on device", "disk quota exceeded", "disk is full")


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one move. Raises WorkspaceError (disk full, no permission); the old file stays."""
    path = Path(path)
    temporary = path.with_name(f".{path.name[:180]}.{secrets.token_hex(6)}.tmp")
    with explained(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            fsync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of the text in UTF-8, newlines as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, obj: Any, indent: int | None = 1) -> None:
    """`write_bytes` of `obj` as JSON with a last newline. Raises ValueError for NaN, which is not JSON."""
    write_text(path, json.dumps(obj, ensure_ascii=False, indent=indent, allow_nan=False) + "\n")


def fsync_directory(path: Path) -> None:
    """Make renames in this directory survive a power cut."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def fsync_tree(root: Path) -> None:
    """fsync `root` if it is a file; else every file under it, then every directory, the deepest first."""
    if root.is_file():
        _fsync(root, os.O_RDONLY)
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            _fsync(Path(folder, name), os.O_RDONLY)
        fsync_directory(Path(folder))


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether this error, or one that led to it, says that the disk is full, in any library's words."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if not isinstance(error, GenwerkError) and any(words in str(error).lower() for words in _FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full(path: Path) -> WorkspaceError:
    """The one message for a full disk."""
    remedy = "Free some space or move the workspace (`genwerk gc` removes artifacts nobody needs), then run it again:"
    return WorkspaceError(
        f"the disk is full, {path.name} could not be written",
        where=str(path),
        remedy=f"{remedy} finished steps are kept, and a step with checkpoints goes on from the last one.",
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a WorkspaceError that names `path` and what to do."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(path) from error
        reason = error.strerror or str(error)
        remedy = "Check that the folder exists, belongs to you and is not mounted read-only."
        raise WorkspaceError(f"{path.name} cannot be written: {reason}", where=str(path), remedy=remedy) from error
