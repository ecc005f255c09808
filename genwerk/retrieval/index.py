"""The index, opened for reading: the truth (store.py) with what is derived from it (derived.py), as views (view.py).

Chosen:   numbers and spans of all chunks are held in arrays (28 bytes a chunk); texts are read when they are shown;
          vectors and postings are mapped. `refresh` reads what others added and removed since, and nothing else.
Try it:   genwerk index search "…"
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from genwerk.core.errors import WorkspaceError
from genwerk.core.types import Chunk, Document
from genwerk.retrieval.derived import find_derived, make_derived
from genwerk.retrieval.store import FILE_NAME, connect, damaged, read_document, read_meta, stack
from genwerk.retrieval.view import NO_ROWS, Chunks, Documents, View, read_rows

__all__ = ["Index"]

_CACHED_DOCUMENTS = 64
_MOST_PARTS = 16
_MANY = 900  # values in one statement
_LAST = """
    SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'chunks'), 0),
           coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'documents'), 0),
           coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'removed'), 0)
"""


class _Seen(NamedTuple):
    """Highest numbers that were taken in."""

    chunk: int = 0
    document: int = 0
    removed: int = 0


class Index:
    """An index, open for reading. Any thread may use it.

    view   chunks and both ways of searching as they are now; `refresh` makes another.
    meta   what the index says of itself: embedder, dataset_sha256, chunking, ...
    """

    def __init__(self, path: Path) -> None:
        self.path = path / FILE_NAME if path.is_dir() else path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._lock = threading.Lock()
        self.document = lru_cache(maxsize=_CACHED_DOCUMENTS)(self._document)
        self._documents, self._seen = Documents(), _Seen()
        self.view = View(NO_ROWS, (), self._documents, self.vectors)
        with self._reading() as connection:
            self.meta = read_meta(connection, self.path)
            self.dimension = int(self.meta["dimension"])
            if (base := find_derived(connection, self.path, self.meta)) is not None and len(base):
                self._documents.read(connection, 0)
                rows = read_rows(connection, self._documents, base.numbers, 0)
                self.view = View(rows, [base], self._documents, self.vectors)
                self._seen = _Seen(int(base.numbers[-1]), max(self._documents.numbers, default=0))
            self._load(connection)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index file, or the folder it lies in.

        Raises WorkspaceError when it is missing, damaged or of another schema version.
        """
        return cls(Path(path))

    @property
    def chunks(self) -> Chunks:
        """All chunks of the present view by row."""
        return self.view.chunks

    @property
    def document_ids(self) -> tuple[str, ...]:
        """Of all documents that are in it, in the order in which they came."""
        return tuple(self._documents.places)

    def may_see(self, document_id: str, groups: Collection[str] = ()) -> bool:
        """Whether somebody in `groups` may see the document: it is for everyone, or for one of them."""
        return self.view.may_see(document_id, groups)

    def refresh(self) -> bool:
        """Take in what others added and removed since; whether there was anything. Raises WorkspaceError."""
        with self._lock, self._reading() as connection:
            return self._load(connection)

    def _load(self, connection: sqlite3.Connection) -> bool:
        seen = _Seen(*connection.execute(_LAST).fetchone())
        if seen == self._seen and self.view.parts:
            return False
        parts, rows, after = self.view.parts, self.view.rows, self._seen.chunk
        if len(parts) > _MOST_PARTS:  # many small parts become one
            parts, rows = parts[:1], rows.before(len(parts[0]))
            after = int(parts[0].numbers[-1]) if len(parts[0]) else 0
        self._documents.read(connection, self._seen.document)
        added = make_derived(connection, self.dimension, after)
        rows = rows.followed_by(read_rows(connection, self._documents, added.numbers, after))
        gone = self._documents.drop(connection, self._seen.removed)
        rows.documents[np.isin(rows.documents, gone)] = -1
        self.view = View(rows, [*parts, added], self._documents, self.vectors)
        self.document.cache_clear()
        self._seen = seen
        return True

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the truth. Raises WorkspaceError where it is damaged."""
        with self.connection() as connection:
            try:
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    connection.execute("COMMIT")
            except (sqlite3.Error, ValueError, KeyError, IndexError, TypeError) as error:
                raise damaged(self.path, str(error)) from error

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection of the pool; as many are made as are used at once."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = connect(self.path)
        try:
            yield connection
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Close all idle connections."""
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def _document(self, document_id: str) -> Document:
        """The document with its whole text. Raises WorkspaceError for an id that is not in the index."""
        query = "SELECT id, source, sha256, text, acl, metadata FROM documents WHERE id = ?"
        try:
            with self.connection() as connection:
                row = connection.execute(query, (document_id,)).fetchone()
        except sqlite3.Error as error:
            raise damaged(self.path, str(error)) from error
        if row is None:
            raise WorkspaceError(
                f"document {document_id} is not in the index", where=str(self.path), remedy="Build the index again."
            )
        return read_document(row)

    def chunk_text(self, chunk: Chunk) -> str:
        """The chunk's text, cut from its document."""
        return self.document(chunk.document_id).text[chunk.start : chunk.end]

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """Vectors (m, D) float32 of chunks by number (m,), from the truth; 0 where one has gone meanwhile."""
        found = np.zeros((len(numbers), self.dimension), dtype=np.float32)
        held = self._held("SELECT chunk, vector FROM vectors WHERE chunk", numbers)
        there = [place for place, number in enumerate(numbers.tolist()) if number in held]
        try:
            found[there] = stack((held[number] for number in numbers[there].tolist()), self.dimension)
        except ValueError as error:
            raise damaged(self.path, str(error)) from error
        return found

    def digests(self, numbers: np.ndarray) -> list[bytes]:
        """By which the texts of chunks by number (m,) are known; a different one for each that has gone meanwhile."""
        held = self._held("SELECT number, digest FROM chunks WHERE number", numbers)
        return [held.get(number, str(number).encode()) for number in numbers.tolist()]

    def _held(self, query: str, numbers: np.ndarray) -> dict[int, bytes]:
        """What the truth has for some chunks, by number. Raises WorkspaceError."""
        wanted, held = np.sort(numbers).tolist(), dict[int, bytes]()
        try:
            with self.connection() as connection:
                for start in range(0, len(wanted), _MANY):
                    part = wanted[start : start + _MANY]
                    held.update(connection.execute(f"{query} IN ({','.join('?' * len(part))})", part).fetchall())
        except sqlite3.Error as error:
            raise damaged(self.path, str(error)) from error
        return held
