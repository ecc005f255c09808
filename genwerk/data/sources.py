"""Sources: which files there are, each real file once, and the hash of them all.

A source is a folder, a file, `python:topics` or `python:docstrings`. Folders are walked in order of names, links last.
Hidden entries are passed over; links are followed only within the folder; a link that leads back to a folder being
walked, or to a file already seen, is noted, never followed twice. Pipes, sockets and devices are never opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.artifact import Source
from genwerk.core.errors import DataError
from genwerk.core.hashing import digest, sha256_file
from genwerk.data import python_docs
from genwerk.data.ledger import Ledger

BUILT_IN = ("python:topics", "python:docstrings")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read and the name it has in documents and ledger: folder name and path below it, with /."""

    path: Path
    name: str


@dataclass
class _Walk:
    root: Path
    ledger: Ledger
    seen: dict[tuple[int, int], str]


def list_files(spec: Sequence[str], ledger: Ledger) -> list[SourceFile]:
    """Files of all sources that are folders or files, in order; what is passed over goes to the ledger.

    Raises DataError for a source that is not there and for a folder without a file.
    """
    files: list[SourceFile] = []
    seen: dict[tuple[int, int], str] = {}
    for source, label in zip(spec, source_labels(spec), strict=True):
        if source in BUILT_IN:
            continue
        path = _existing(source)
        walk = _Walk(path.resolve(), ledger, seen)
        if path.is_file():
            files += [SourceFile(path, label)] if _is_new(path.stat(), label, walk) else []
            continue
        found = list(_walk_folder(path, label, walk, ()))
        if not found:
            remedy = (
                "Put documents into it (txt, md, html, csv, pdf, docx, pptx, xlsx, eml, epub, ...) or name another."
            )
            reasons = ledger.summary()
            what = "the folder has no files" + (f" to read ({reasons})" if reasons else "")
            raise DataError(what, where=str(path), remedy=remedy)
        files += found
    return files


def source_labels(spec: Sequence[str]) -> list[str]:
    """The name of each source in documents: its last path component, made different where two are the same."""
    labels: list[str] = []
    for source in spec:
        label = source if source in BUILT_IN else Path(os.path.abspath(source)).name or "root"
        number = 2
        while label in labels:
            label, number = f"{label.rsplit(' ', 1)[0] if number > 2 else label} {number}", number + 1
        labels.append(label)
    return labels


def source_fingerprint(sources: Sequence[str]) -> Source:
    """The hash of all that `sources` holds, as an input of the prepare step: an edited file makes another artifact.

    Raises DataError as `list_files` does. A file that cannot be read counts by that fact.
    """
    hashes: dict[str, str] = {name: python_docs.fingerprint(name) for name in sources if name in BUILT_IN}
    for file in list_files(sources, Ledger()):
        try:
            hashes[file.name] = sha256_file(file.path)
        except OSError as error:
            hashes[file.name] = f"unreadable: {type(error).__name__}"
    paths = [Path(source) for source in sources if source not in BUILT_IN]
    return Source("documents", paths[0] if paths else Path(sources[0] if sources else "."), digest(hashes))


def _existing(source: str) -> Path:
    if source.startswith("python:"):
        raise DataError(f"`{source}` is not a built-in source", remedy=f"There are {' and '.join(BUILT_IN)}.")
    path = Path(source)
    if not path.exists():
        raise DataError(f"no file or folder at {source}", remedy="Check the path in `documents:`.")
    return path


def _walk_folder(folder: Path, name: str, walk: _Walk, above: tuple[tuple[int, int], ...]) -> Iterator[SourceFile]:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above or identity in walk.seen:
        loop = "it leads back to a folder above it" if identity in above else f"already read as {walk.seen[identity]}"
        walk.ledger.drop(name, "symlink loop" if identity in above else "same folder", loop)
        return
    walk.seen[identity] = name
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: (entry.is_symlink(), entry.name))
    except OSError as error:
        walk.ledger.drop(name, "unreadable", f"{error.strerror}; check its permissions")
        return
    for entry in entries:
        path, below = folder / entry.name, f"{name}/{_printable(entry.name)}"
        if entry.name.startswith("."):
            walk.ledger.drop(below, "hidden", "names that begin with a dot are passed over")
        elif (kind := _kind(path, below, walk)) == "folder":
            yield from _walk_folder(path, below, walk, (*above, identity))
        elif kind == "file":
            yield SourceFile(path, below)


def _kind(path: Path, name: str, walk: _Walk) -> str:
    """folder, file, or empty for what is passed over (then it is in the ledger)."""
    try:
        status = path.stat()
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        rule = (
            "symlink loop" if getattr(error, "errno", None) == 40 or isinstance(error, RuntimeError) else "broken link"
        )
        walk.ledger.drop(name, rule if path.is_symlink() else "unreadable", "it leads nowhere")
        return ""
    if path.is_symlink() and not resolved.is_relative_to(walk.root):
        walk.ledger.drop(name, "link leads outside", "name its target as a source of its own to read it")
        return ""
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    if not stat.S_ISREG(status.st_mode):
        walk.ledger.drop(name, "not a file", "pipes, sockets and devices are not read")
        return ""
    return "file" if _is_new(status, name, walk) else ""


def _is_new(status: os.stat_result, name: str, walk: _Walk) -> bool:
    identity = (status.st_dev, status.st_ino)
    if identity in walk.seen:
        walk.ledger.drop(name, "same file", f"already read as {walk.seen[identity]}")
        return False
    walk.seen[identity] = name
    return True


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
