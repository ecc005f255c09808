"""From files to raw documents: every problem becomes a line of the ledger, and the rest goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from genwerk.core.hashing import digest
from genwerk.core.progress import track
from genwerk.data import python_docs
from genwerk.data.card import InputRecord
from genwerk.data.ledger import Ledger
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable
from genwerk.data.read_ahead import read_ahead
from genwerk.data.sources import BUILT_IN, SourceFile, list_files, source_labels
from genwerk.data.still_file import FileRead


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """A raw document with the name and hash of the file it came from."""

    source: str
    suffix: str
    file_sha256: str
    license: str
    raw: RawDocument


class SourceReader:
    """Reads all sources once; `inputs` then says what was read."""

    def __init__(self, spec: Sequence[str], options: ReadOptions, ledger: Ledger) -> None:
        self._spec, self._options, self._ledger = tuple(spec), options, ledger
        self._files = list_files(spec, ledger)
        self._hashes: dict[str, tuple[int, str]] = {}

    @property
    def n_files(self) -> int:
        """How many files there are to read, built-in sources apart."""
        return len(self._files)

    def read(self) -> Iterator[ReadDocument]:
        """Documents in the order of the sources. Raises DataError only where an optional package is missing."""
        with track("reading documents", total=len(self._files), unit="files") as bar:

            def tell(file: SourceFile, progress: str) -> None:
                bar.advance(0, note=f"{file.name}, {progress}")

            with closing(read_ahead(self._files, self._options, tell)) as files:
                for file, read in files:
                    yield from self._documents(file, read)
                    bar.advance(note=file.name)
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

    def _documents(self, file: SourceFile, read: FileRead) -> Iterator[ReadDocument]:
        if read.sha256:
            self._hashes[file.name] = (read.size, read.sha256)
        for found in read.found:
            source = f"{file.name}#{found.part}" if found.part else file.name
            if isinstance(found, Unreadable):
                self._ledger.drop(source, found.rule, found.detail)
            else:
                suffix = file.path.suffix.lower().lstrip(".") or "no suffix"
                yield ReadDocument(source, suffix, read.sha256, "", found)
