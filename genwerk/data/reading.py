"""From files to raw documents: every problem becomes a line of the ledger, and the rest goes on.

A file is looked at before and after it is read. Where its size or time differ it was being written: it is read once
more, and left out if it changes again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.hashing import digest, sha256_file
from genwerk.core.progress import track
from genwerk.data import python_docs
from genwerk.data.card import InputRecord
from genwerk.data.guarded import GuardedReader
from genwerk.data.ledger import Ledger
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable, too_large
from genwerk.data.readers import GUARDED, READERS, STREAMED, reader_for
from genwerk.data.sources import BUILT_IN, SourceFile, list_files, source_labels


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """A raw document with the name and hash of the file it came from."""

    source: str
    suffix: str
    file_sha256: str
    license: str
    raw: RawDocument


@dataclass(frozen=True, slots=True)
class _Attempt:
    stable: bool
    sha256: str
    found: list[RawDocument | Unreadable]


class SourceReader:
    """Reads all sources once; `inputs` then says what was read."""

    def __init__(self, spec: Sequence[str], options: ReadOptions, ledger: Ledger) -> None:
        self._spec, self._options, self._ledger = tuple(spec), options, ledger
        self._files = list_files(spec, ledger)
        self._hashes: dict[str, tuple[int, str]] = {}
        self._guarded = GuardedReader()

    @property
    def n_files(self) -> int:
        """How many files there are to read, built-in sources apart."""
        return len(self._files)

    def read(self) -> Iterator[ReadDocument]:
        """Documents in the order of the sources. Raises DataError only where an optional package is missing."""
        with track("reading documents", total=len(self._files), unit="files") as bar, closing(self._guarded):
            for file in self._files:
                yield from self._read_file(file)
                bar.advance()
        for name in self._spec:
            if name in BUILT_IN:
                yield from self._read_built_in(name)

    def inputs(self) -> list[InputRecord]:
        """One record per source, in their order."""
        records = []
        for label in source_labels(self._spec):
            own = {name: value for name, value in self._hashes.items() if name == label or name.startswith(label + "/")}
            total = sum(size for size, _ in own.values())
            records.append(InputRecord(label, len(own), total, digest({name: sha for name, (_, sha) in own.items()})))
        return records

    def _read_built_in(self, name: str) -> Iterator[ReadDocument]:
        documents = python_docs.read_topics() if name == "python:topics" else python_docs.read_docstrings()
        suffix = "reference" if name == "python:topics" else "docstrings"
        for named in documents:
            data = named.document.text.encode("utf-8", "surrogatepass")
            sha256 = hashlib.sha256(data).hexdigest()
            self._hashes[named.source] = (len(data), sha256)
            yield ReadDocument(named.source, suffix, sha256, python_docs.LICENSE, named.document)

    def _read_file(self, file: SourceFile) -> Iterator[ReadDocument]:
        suffix = file.path.suffix.lower()
        if isinstance(known := reader_for(suffix), Unreadable):
            self._ledger.drop(file.name, known.rule, known.detail)
            return
        try:
            size = file.path.stat().st_size
            if size == 0:
                self._ledger.drop(file.name, "empty file", "zero bytes")
                return
            if size > self._options.max_bytes and suffix not in STREAMED:
                problem = too_large(size, self._options)
                self._ledger.drop(file.name, problem.rule, problem.detail)
                return
            attempt = self._attempt(file.path, suffix)
            if not attempt.stable:
                attempt = self._attempt(file.path, suffix)
        except OSError as error:
            self._ledger.drop(file.name, "unreadable", f"{error.strerror or error}; check its permissions and its disk")
            return
        if not attempt.stable:
            self._ledger.drop(file.name, "changed while read", "it changed twice; copy it, or wait until it is written")
            return
        self._hashes[file.name] = (size, attempt.sha256)
        yield from self._documents(file.name, suffix, attempt)

    def _attempt(self, path: Path, suffix: str) -> _Attempt:
        before = path.stat()
        if suffix in GUARDED:
            found = self._guarded.read(path, suffix, self._options)
        else:
            found = list(READERS[suffix](path, self._options))
        sha256 = sha256_file(path)
        after = path.stat()
        same = (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)
        return _Attempt(same, sha256, found)

    def _documents(self, name: str, suffix: str, attempt: _Attempt) -> Iterator[ReadDocument]:
        for found in attempt.found:
            source = f"{name}#{found.part}" if found.part else name
            if isinstance(found, Unreadable):
                self._ledger.drop(source, found.rule, found.detail)
            else:
                yield ReadDocument(source, suffix.lstrip(".") or "no suffix", attempt.sha256, "", found)
