"""The truth of an index, whichever database keeps it: what is read of it, and what came and went since.

    documents  number, id, source, sha256, text, acl (JSON list, empty: everyone), metadata (JSON)
    chunks     number, document, start, stop, digest     text[start:stop] of the document, and the hash of that text
    vectors    chunk, float16 little-endian bytes of length 1
    removed    numbers of documents that went, for whoever has the index open
    meta       schema version, identity of the embedder, chunking, ...

Numbers are given once and never again, and become visible in their order, so that whoever has seen all up to a number
follows by reading those above it. What is derived (derived.py) names a chunk by its number for ever.

The tables and the statements on them are the same in SQLite (store.py) and in PostgreSQL (postgres.py). A `Store` is
what differs: where the tables are, how they are opened, locked and made, and what its errors mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from genwerk.core.errors import WorkspaceError
from genwerk.core.types import Document

__all__ = [
    "SCHEMA_VERSION",
    "VECTOR_TYPE",
    "Changing",
    "Last",
    "Rows",
    "Sql",
    "State",
    "Store",
    "digest_of",
    "problems_in",
    "stack",
]

SCHEMA_VERSION = 2
VECTOR_TYPE = np.dtype("<f2")
_TEXTS, _VECTORS, _SPANS = 64, 8192, 1 << 15  # rows that are read at once
_MANY = 900  # values in one statement
_HIGHEST = ", ".join(f"(SELECT coalesce(max(number), 0) FROM {table})" for table in ("chunks", "documents", "removed"))


class Rows(Protocol):
    """What a statement found."""

    def __iter__(self) -> Iterator[Any]: ...
    def fetchone(self) -> Any: ...


class Sql(Protocol):
    """A connection to a database that understands the statements of this file and of writer.py."""

    def execute(self, query: str, values: Sequence[Any] = ..., /) -> Rows: ...
    def executemany(self, query: str, values: Iterable[Sequence[Any]], /) -> object: ...
    def close(self) -> None: ...


Changing = Callable[[], AbstractContextManager[None]]


class Store(Protocol):
    """Where the truth of an index is, and how it is opened.

    where     as messages name it; folder: where what is derived lies; shared: others may not see that folder.
    begin     the statement from which on all is read of one state.
    connect   a connection that only reads, for any thread, closed by whoever asked for it.
    is_living whether the truth may ever change; asked once it is there.
    usable    whether a connection that lay idle is still good.
    state     the truth at one moment, whoever writes meanwhile; errors in it become WorkspaceErrors.
    explained errors of the database become WorkspaceErrors that say what to do.
    writing   a connection that may change the truth, and what makes a block one change: all of it is seen, or nothing.
    """

    where: str
    folder: Path
    shared: bool
    begin: str

    def exists(self) -> bool: ...
    def is_living(self) -> bool: ...
    def create(self, dimension: int, meta: dict[str, str]) -> None: ...
    def connect(self) -> Sql: ...
    def usable(self, sql: Any, /) -> bool: ...
    def explained(self) -> AbstractContextManager[None]: ...
    def writing(self) -> AbstractContextManager[tuple[Sql, Changing]]: ...
    def size(self) -> int: ...
    def problems(self) -> list[str]: ...

    @contextmanager
    def state(self, sql: Any, /) -> Iterator[State]:
        """One state of the truth."""
        with self.explained():
            sql.execute(self.begin)
            try:
                yield State(sql)
            finally:
                sql.execute("COMMIT")


class Last(NamedTuple):
    """The highest numbers there are; every change moves the second or the third."""

    chunk: int = 0
    document: int = 0
    removed: int = 0


class State:
    """What can be asked of the truth. Raises the errors of its database, and ValueError where it is damaged."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def meta(self, where: str) -> dict[str, str]:
        """The index's own description. Raises WorkspaceError for another schema, KeyError where it is none."""
        meta: dict[str, str] = dict(self._sql.execute("SELECT key, value FROM meta"))
        if (version := int(meta["schema_version"])) != SCHEMA_VERSION:
            raise WorkspaceError(
                f"the index has schema {version}, this version reads {SCHEMA_VERSION}",
                where=where,
                remedy="Run the recipe again to build it anew.",
            )
        return meta

    def last(self) -> Last:
        """The highest numbers there are."""
        return Last(*self._sql.execute(f"SELECT {_HIGHEST}").fetchone())

    def moment(self) -> tuple[str, Last]:
        """Which index it is, and the highest numbers there are: by one statement, which sees one state by itself."""
        query = f"SELECT (SELECT value FROM meta WHERE key = 'identity'), {_HIGHEST}"
        identity, *last = self._sql.execute(query).fetchone()
        return str(identity), Last(*last)

    def documents(self, after: int) -> Iterator[tuple[int, str, str, str, str]]:
        """(number, id, source, acl, metadata) of documents with numbers above `after`, in order."""
        query = "SELECT number, id, source, acl, metadata FROM documents WHERE number > ? ORDER BY number"
        return (row for page in self._pages(query, after, _SPANS) for row in page)

    def texts(self, after: int) -> Iterator[tuple[int, str, str]]:
        """(number, text, metadata) of documents with numbers above `after`, in order."""
        query = "SELECT number, text, metadata FROM documents WHERE number > ? ORDER BY number"
        return (row for page in self._pages(query, after, _TEXTS) for row in page)

    def removed(self, after: int) -> list[int]:
        """Documents whose removal has a number above `after`."""
        query = "SELECT document FROM removed WHERE number > ? ORDER BY number"
        return [number for (number,) in self._sql.execute(query, (after,))]

    def spans(self, after: int) -> np.ndarray:
        """(n, 4) int64: number, document, start, stop of chunks with numbers above `after`, in order."""
        query = "SELECT number, document, start, stop FROM chunks WHERE number > ? ORDER BY number"
        blocks = [np.array(page, dtype=np.int64) for page in self._pages(query, after, _SPANS)]
        return np.concatenate([np.zeros((0, 4), dtype=np.int64), *blocks])

    def vectors(self, after: int, dimension: int) -> Iterator[np.ndarray]:
        """Blocks (n, dimension) float16 of the vectors of chunks with numbers above `after`, in order."""
        query = "SELECT chunk, vector FROM vectors WHERE chunk > ? ORDER BY chunk"
        for page in self._pages(query, after, _VECTORS):
            yield stack((blob for _, blob in page), dimension)

    def vectors_of(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Vectors of chunks by number, of those that are there."""
        return self._of("SELECT chunk, vector FROM vectors WHERE chunk", numbers)

    def digests_of(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """By which the texts of chunks are known, by number, of those that are there."""
        return self._of("SELECT number, digest FROM chunks WHERE number", numbers)

    def document(self, identity: str) -> Document | None:
        """The document with its whole text, or None."""
        query = "SELECT id, source, sha256, text, acl, metadata FROM documents WHERE id = ?"
        row = self._sql.execute(query, (identity,)).fetchone()
        if row is None:
            return None
        _, source, sha256, text, acl, metadata = row
        return Document(identity, source, text, sha256, tuple(json.loads(acl)), json.loads(metadata))

    def digest(self, number: int) -> str:
        """By which a chunk is known; empty when it is no longer there."""
        row = self._sql.execute("SELECT digest FROM chunks WHERE number = ?", (number,)).fetchone()
        return row[0].hex() if row else ""

    def sources(self) -> Iterator[tuple[int, str, str, str]]:
        """(number, source, sha256, text) of every document."""
        query = "SELECT number, source, sha256, text FROM documents WHERE number > ? ORDER BY number"
        return (row for page in self._pages(query, 0, _TEXTS) for row in page)

    def held_of(self, document: int) -> list[tuple[int, int, bytes, int | None]]:
        """(start, stop, digest, bytes of the vector) of the chunks of a document."""
        query = "SELECT start, stop, digest, vector FROM chunks LEFT JOIN vectors ON chunk = number WHERE document = ?"
        rows = self._sql.execute(query, (document,))
        return [(start, stop, digest, vector and len(vector)) for start, stop, digest, vector in rows]

    def _of(self, query: str, numbers: Sequence[int]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for start in range(0, len(numbers), _MANY):
            part = numbers[start : start + _MANY]
            found.update(self._sql.execute(f"{query} IN ({','.join('?' * len(part))})", part))
        return found

    def _pages(self, query: str, after: int, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """Rows in the order of their first column, so many at once as memory is to hold."""
        while page := list(self._sql.execute(f"{query} LIMIT {size}", (after,))):
            yield page
            if len(page) < size:
                return
            after = page[-1][0]


def problems_in(state: State, where: str) -> Iterator[str]:
    """Everything that is wrong with texts, chunks and vectors, after reading all of them."""
    width = VECTOR_TYPE.itemsize * int(state.meta(where)["dimension"])
    for number, source, sha256, text in state.sources():
        if hashlib.sha256(text.encode()).hexdigest() != sha256:
            yield f"{source}: the text is not the one that was indexed"
            continue
        for start, stop, digest, bytes_ in state.held_of(number):
            if digest_of(text[start:stop]) != digest:
                yield f"{source}, {start} to {stop}: another text than was embedded"
            elif bytes_ != width:
                yield f"{source}, {start} to {stop}: a vector of {bytes_} bytes instead of {width}"


def digest_of(text: str) -> bytes:
    """16 bytes by which a chunk's text is known again."""
    return hashlib.sha256(text.encode()).digest()[:16]


def stack(blobs: Iterable[bytes], dimension: int) -> np.ndarray:
    """Blobs as one matrix (n, dimension) float16. Raises ValueError where one is of another length."""
    joined = b"".join(blobs)
    return np.frombuffer(joined, dtype=VECTOR_TYPE).reshape(-1, dimension)
