"""The index file: one SQLite database that holds documents, chunks and vectors, and is the truth about them.

    documents  number, id, source, sha256, text, acl (JSON list, empty: everyone), metadata (JSON)
    chunks     number, document, start, stop, digest     text[start:stop] of the document, and the hash of that text
    vectors    chunk, float16 little-endian blob of length 1
    removed    numbers of documents that went, for whoever has the index open
    meta       schema version, identity of the embedder, chunking, ...

Numbers are given once and never again, so that what is derived from the truth (words.py, scan.py) can name a chunk by
its number for ever. A new file is written by one connection in one transaction without a journal, the same bytes for
the same input; a living one (`Writer`) is changed in transactions with a write-ahead log: killed at any moment, it
holds the collection of before or of after.

Chosen:   vectors in float16: cosines move by less than 0.0005, and a million takes 0.8 GB instead of 1.5.
Left out: compressed texts.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.types import Chunk, Document

__all__ = [
    "FILE_NAME",
    "SCHEMA_VERSION",
    "VECTOR_TYPE",
    "Writer",
    "check_text",
    "connect",
    "damaged",
    "digest_of",
    "problems_of",
    "read_document",
    "read_meta",
    "stack",
    "write_store",
]

FILE_NAME = "index.sqlite"
SCHEMA_VERSION = 2
VECTOR_TYPE = np.dtype("<f2")
_MANY = 500  # values in one statement
_NEW = "PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, sha256 TEXT NOT NULL,
    text TEXT NOT NULL, acl TEXT NOT NULL, metadata TEXT NOT NULL
);
CREATE INDEX documents_source ON documents (source);
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES documents (number),
    start INTEGER NOT NULL, stop INTEGER NOT NULL, digest BLOB NOT NULL, CHECK (0 <= start AND start < stop)
);
CREATE INDEX chunks_document ON chunks (document);
CREATE INDEX chunks_digest ON chunks (digest);
CREATE TABLE removed (number INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL);
CREATE TABLE vectors (chunk INTEGER PRIMARY KEY REFERENCES chunks (number), vector BLOB NOT NULL);
"""


class Writer:
    """The one who changes an index file; others may read it meanwhile, and see the collection of before or of after.

    Raises WorkspaceError where the file is missing, damaged, of another schema, or never to be changed.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise WorkspaceError("there is no index file", where=str(path), remedy="Build it first.")
        if not _is_living(path):
            raise WorkspaceError(
                "this index was made by a recipe's run and is never changed",
                where=str(path),
                remedy="Run the recipe again, or build one that follows its documents: genwerk index build.",
            )
        self.path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
            self._connection.execute("PRAGMA synchronous = FULL")
            self.meta = read_meta(self._connection, path)
        except sqlite3.Error as error:
            raise damaged(path, str(error)) from error

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        self._connection.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """One change: all that is added and removed inside becomes visible together, or not at all."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise WorkspaceError(
                f"the index cannot be changed: {error}",
                where=str(self.path),
                remedy="Free some space, or wait until the other process is done; nothing was changed.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise damaged(self.path, str(error)) from error

    def held(self) -> list[str]:
        """Ids of all documents, in the order in which they came."""
        return [identity for (identity,) in self._connection.execute("SELECT id FROM documents ORDER BY number")]

    def limited(self) -> dict[str, tuple[str, ...]]:
        """Access lists of the documents that not everyone may see, by source and by the hash of the text."""
        query = "SELECT sha256, acl FROM documents WHERE acl != '[]' UNION ALL "
        query += "SELECT source, acl FROM documents WHERE acl != '[]'"
        return {name: tuple(json.loads(acl)) for name, acl in self._connection.execute(query)}

    def last_chunk(self) -> int:
        """The number that was given to the last chunk."""
        last = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
        return int(last[0]) if last else 0

    def named(self, name: str) -> list[str]:
        """Ids of the documents with this id or source."""
        query = "SELECT id FROM documents WHERE id = ? OR source = ?"
        return [identity for (identity,) in self._connection.execute(query, (name, name))]

    def holds(self, document: Document) -> bool:
        """Whether the document is there as it is, with its access list and metadata."""
        query = "SELECT acl, metadata FROM documents WHERE id = ?"
        row = self._connection.execute(query, (document.id,)).fetchone()
        return row is not None and tuple(row) == _row_of(document)[4:]

    def remove_like(self, document: Document) -> bool:
        """Remove what is there under the document's id or source; whether there was anything. Inside `change`."""
        found = {*self.named(document.id), *self.named(document.source)}
        for identity in found:
            self.remove(identity)
        return bool(found)

    def add(self, document: Document, chunks: Sequence[Chunk], vectors: Iterable[np.ndarray]) -> None:
        """A document with its chunks and a vector (D,) for each; inside `change`."""
        _add(self._connection, document, chunks, vectors)

    def remove(self, document_id: str) -> None:
        """A document with all that is derived from it; inside `change`."""
        mine = "SELECT c.number FROM chunks c JOIN documents d ON c.document = d.number WHERE d.id = ?"
        execute = self._connection.execute
        execute(f"DELETE FROM vectors WHERE chunk IN ({mine})", (document_id,))
        execute(f"DELETE FROM chunks WHERE number IN ({mine})", (document_id,))
        execute("INSERT INTO removed (document) SELECT number FROM documents WHERE id = ?", (document_id,))
        execute("DELETE FROM documents WHERE id = ?", (document_id,))

    def vectors_of(self, digests: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Vectors that texts with these digests already have: a document that moves is not embedded again."""
        found: dict[bytes, np.ndarray] = {}
        for start in range(0, len(digests), _MANY):
            part = digests[start : start + _MANY]
            marks = ",".join("?" * len(part))
            query = f"SELECT digest, vector FROM chunks JOIN vectors ON chunk = number WHERE digest IN ({marks})"
            for digest, blob in self._connection.execute(query, part):
                found[digest] = np.frombuffer(blob, dtype=VECTOR_TYPE)
        return found


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

    living   it may be changed later, by a `Writer`; readers then take locks.
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
            connection.executescript(
                f"PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_SCHEMA}"
            )
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted((k, str(v)) for k, v in values.items()))
            for place, document in enumerate(documents):
                mine = slice(ends[place], ends[place + 1])
                _add(connection, document, chunks[mine], vectors[mine])
            connection.execute("COMMIT")
            if living:
                connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise WorkspaceError(
            f"the index cannot be written: {error}", where=str(path), remedy="Free some space and run again."
        ) from error


def _add(
    connection: sqlite3.Connection, document: Document, chunks: Sequence[Chunk], vectors: Iterable[np.ndarray]
) -> None:
    check_text(document)
    statement = "INSERT INTO documents (id, source, sha256, text, acl, metadata) VALUES (?, ?, ?, ?, ?, ?)"
    try:
        number = connection.execute(statement, _row_of(document)).lastrowid
    except sqlite3.IntegrityError as error:
        raise DataError(
            f"the documents cannot be indexed: {error}", remedy="Each document may be in the dataset once."
        ) from error
    for chunk, vector in zip(chunks, vectors, strict=True):
        digest = digest_of(document.text[chunk.start : chunk.end])
        values = (number, chunk.start, chunk.end, digest)
        statement = "INSERT INTO chunks (document, start, stop, digest) VALUES (?, ?, ?, ?)"
        place = connection.execute(statement, values).lastrowid
        connection.execute("INSERT INTO vectors VALUES (?, ?)", (place, vector.astype(VECTOR_TYPE).tobytes()))


def _row_of(document: Document) -> tuple[str, ...]:
    acl = json.dumps(sorted(document.acl), ensure_ascii=False)
    metadata = json.dumps(dict(document.metadata), ensure_ascii=False, sort_keys=True)
    return document.id, document.source, document.sha256, document.text, acl, metadata


def digest_of(text: str) -> bytes:
    """16 bytes by which a chunk's text is known again."""
    return hashlib.sha256(text.encode()).digest()[:16]


def check_text(document: Document) -> None:
    """Raises DataError for half a surrogate pair, which no file of text can hold."""
    try:
        document.text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{document.source} holds a character that is no text (position {error.start})",
            where=document.source,
            remedy="Prepare the documents again; preparation repairs such characters.",
        ) from None


def connect(path: Path) -> sqlite3.Connection:
    """A read-only connection; may be handed from thread to thread. Raises WorkspaceError.

    A file that is never changed is read without locks; one with a write-ahead log as SQLite does it.
    """
    if not path.is_file():
        raise WorkspaceError("there is no index file", where=str(path), remedy="Build it with `genwerk run`.")
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if _is_living(path) else '&immutable=1'}"
    try:
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise damaged(path, str(error)) from error
    return connection


def _is_living(path: Path) -> bool:
    """Whether the file is changed through a write-ahead log: its header says so."""
    with path.open("rb") as file:
        return file.read(20)[18:20] == b"\x02\x02"


def read_meta(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    """The index's own description. Raises WorkspaceError for another schema or a file that is no index."""
    try:
        meta: dict[str, str] = dict(connection.execute("SELECT key, value FROM meta"))
        version = int(meta["schema_version"])
    except (sqlite3.Error, KeyError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if version != SCHEMA_VERSION:
        raise WorkspaceError(
            f"the index has schema {version}, this version reads {SCHEMA_VERSION}",
            where=str(path),
            remedy="Run the recipe again to build it anew.",
        )
    return meta


def read_document(row: tuple[Any, ...]) -> Document:
    """(id, source, sha256, text, acl, metadata) as stored → Document."""
    identity, source, sha256, text, acl, metadata = row
    return Document(identity, source, text, sha256, tuple(json.loads(acl)), json.loads(metadata))


def problems_of(path: Path) -> list[str]:
    """Everything that is wrong with an index file, after reading all of it; empty where it is whole."""
    connection = connect(path)
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        width = VECTOR_TYPE.itemsize * int(read_meta(connection, path)["dimension"])
        for source, sha256, text, number in connection.execute("SELECT source, sha256, text, number FROM documents"):
            if hashlib.sha256(text.encode()).hexdigest() != sha256:
                found.append(f"{source}: the text is not the one that was indexed")
                continue
            query = (
                "SELECT start, stop, digest, length(vector) FROM chunks LEFT JOIN vectors ON chunk = number "
                "WHERE document = ?"
            )
            for start, stop, digest, bytes_ in connection.execute(query, (number,)):
                if digest_of(text[start:stop]) != digest:
                    found.append(f"{source}, {start} to {stop}: another text than was embedded")
                elif bytes_ != width:
                    found.append(f"{source}, {start} to {stop}: a vector of {bytes_} bytes instead of {width}")
    except (sqlite3.Error, KeyError, ValueError) as error:
        return [str(error)]
    finally:
        connection.close()
    return found


def stack(blobs: Iterable[bytes], dimension: int) -> np.ndarray:
    """Blobs as one matrix (n, dimension) float16. Raises ValueError where one is of another length."""
    joined = b"".join(blobs)
    return np.frombuffer(joined, dtype=VECTOR_TYPE).reshape(-1, dimension)


def damaged(path: Path, reason: str) -> WorkspaceError:
    """The one message for a file that is not the index that was written."""
    return WorkspaceError(
        f"the index file is damaged: {reason}",
        where=str(path),
        remedy="Delete this index's folder and run the recipe again; it is built anew from the documents.",
    )
