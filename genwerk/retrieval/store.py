"""An index in one file: the tables of truth.py in SQLite, for one writer at a time and any number of readers.

A new file is written by one connection in one transaction without a journal, the same bytes for the same input; a
living one is changed in transactions with a write-ahead log: killed at any moment, it holds the collection of before
or of after. What is derived lies beside it.

Chosen:   vectors in float16: cosines move by less than 0.0005, and a million takes 0.8 GB instead of 1.5.
Left out: compressed texts.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import accumulate
from pathlib import Path

import numpy as np

from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.lock import Holder, hold
from genwerk.core.types import Chunk, Document
from genwerk.retrieval.truth import SCHEMA_VERSION, Changing, Sql, State, Store, problems_in
from genwerk.retrieval.writer import add_document

__all__ = ["FILE_NAME", "FileStore", "write_store"]

FILE_NAME = "index.sqlite"
_NEW = "PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
_BY_TEXT = "CREATE INDEX IF NOT EXISTS documents_sha256 ON documents (sha256)"  # earlier files lack it

_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, sha256 TEXT NOT NULL,
    acl TEXT NOT NULL, metadata TEXT NOT NULL, text TEXT NOT NULL -- last: what stands behind it costs reading it
);
CREATE INDEX documents_source ON documents (source);
{_BY_TEXT};
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES documents (number),
    start INTEGER NOT NULL, stop INTEGER NOT NULL, digest BLOB NOT NULL, CHECK (0 <= start AND start < stop)
);
CREATE INDEX chunks_document ON chunks (document);
CREATE INDEX chunks_digest ON chunks (digest);
CREATE TABLE removed (number INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL);
CREATE TABLE vectors (chunk INTEGER PRIMARY KEY REFERENCES chunks (number), vector BLOB NOT NULL);
"""


class FileStore(Store):
    """The truth in a file `index.sqlite`, given by itself or by its folder."""

    shared = False
    begin = "BEGIN"

    def __init__(self, place: Path) -> None:
        self.path = place if place.is_file() or place.suffix == ".sqlite" else place / FILE_NAME
        self.where, self.folder = str(self.path), self.path.parent
        self._inode = 0  # of the file that was opened last

    def exists(self) -> bool:
        """Whether there is a file."""
        return self.path.exists()

    def is_living(self) -> bool:
        """Whether the file is changed, through a write-ahead log: its header says so."""
        with self.path.open("rb") as file:
            return file.read(20)[18:20] == b"\x02\x02"

    def create(self, dimension: int, meta: dict[str, str]) -> None:
        """A new, empty index that follows its documents; it appears as a whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.unlink(missing_ok=True)
        write_store(part, [], [], np.zeros((0, dimension)), meta, living=True)
        part.rename(self.path)

    def connect(self) -> sqlite3.Connection:
        """A file that is never changed is read without locks; one with a write-ahead log as SQLite does it."""
        self._need()
        uri = f"{self.path.absolute().as_uri()}?mode=ro{'' if self.is_living() else '&immutable=1'}"
        self._inode = self.path.stat().st_ino
        with self.explained():
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
            connection.execute("PRAGMA query_only = ON")
        return connection

    def usable(self, sql: sqlite3.Connection) -> bool:
        """Whether the file that is open is still the one that lies there."""
        return self.path.is_file() and self.path.stat().st_ino == self._inode

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What goes wrong when a file is read means that it is not the one that was written."""
        try:
            yield
        except (sqlite3.Error, ValueError, KeyError, IndexError, TypeError) as error:
            raise self._damaged(error) from error

    @contextmanager
    def writing(self) -> Iterator[tuple[Sql, Changing]]:
        """A connection for the one process that may change the file. Another is told that it has to wait."""
        self._need()
        if not self.is_living():
            raise WorkspaceError(
                "this index was made by a recipe's run and is never changed",
                where=self.where,
                remedy="Run the recipe again, or build one that follows its documents: genwerk index build.",
            )
        with (
            hold(self.path.with_suffix(".lock"), wait=0, busy=self._busy),
            closing(sqlite3.connect(self.path, isolation_level=None, timeout=10)) as connection,
            self._changing(),
        ):
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_BY_TEXT)
            yield connection, self._change(connection)

    def _change(self, connection: sqlite3.Connection) -> Changing:
        @contextmanager
        def change() -> Iterator[None]:
            with self._changing():
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise

        return change

    @contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise WorkspaceError(
                f"the index cannot be changed: {error}",
                where=self.where,
                remedy="Free some space, or wait until the other process is done; nothing was changed.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    def problems(self) -> list[str]:
        """Everything that is wrong with the file, after reading all of it; empty where it is whole."""
        try:
            with closing(self.connect()) as connection:
                found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
                return [*found, *problems_in(State(connection), self.where)]
        except (sqlite3.Error, KeyError, ValueError) as error:
            return [str(error)]

    def _need(self) -> None:
        if not self.path.is_file():
            remedy = f"Build it: genwerk index build DOCUMENTS --index {self.folder}, or by a recipe: genwerk run."
            raise WorkspaceError("there is no index file", where=self.where, remedy=remedy)

    def _busy(self, holder: Holder) -> WorkspaceError:
        return WorkspaceError(
            f"the index is being changed by {holder}", where=self.where, remedy="Wait until it is done."
        )

    def _damaged(self, reason: Exception) -> WorkspaceError:
        return WorkspaceError(
            f"the index file is damaged: {reason}",
            where=self.where,
            remedy="Delete this index's folder and run the recipe again; it is built anew from the documents.",
        )


def write_store(
    path: Path,
    documents: Sequence[Document],
    chunks: Sequence[Chunk],
    vectors: np.ndarray,
    meta: Mapping[str, str],
    *,
    living: bool = False,
) -> None:
    """Write a new index file. `chunks` are in the order of `documents`; `vectors` (N, D) belong to them row by row.

    living   it may be changed later; readers then take locks.
    Raises DataError for a document that cannot be stored (twice the same, or text that is not valid Unicode), and
    WorkspaceError when the file cannot be written.
    """
    identity = hashlib.sha256(repr([[document.id for document in documents], chunks, sorted(meta.items())]).encode())
    own = {"schema_version": SCHEMA_VERSION, "dimension": vectors.shape[1], "identity": identity.hexdigest()[:16]}
    values = {**own, **meta}
    counts = Counter(chunk.document_id for chunk in chunks)
    ends = [0, *accumulate(counts[document.id] for document in documents)]
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(_NEW + _SCHEMA)
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted((k, str(v)) for k, v in values.items()))
            for place, document in enumerate(documents):
                mine = slice(ends[place], ends[place + 1])
                add_document(connection, document, chunks[mine], vectors[mine])
            connection.execute("COMMIT")
            if living:
                connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.IntegrityError as error:
        raise DataError(
            f"the documents cannot be indexed: {error}", remedy="Each document may be in the dataset once."
        ) from error
    except sqlite3.Error as error:
        raise WorkspaceError(
            f"the index cannot be written: {error}", where=str(path), remedy="Free some space and run again."
        ) from error
