"""The index file: one SQLite database that holds documents, chunks, words and vectors, and is the truth about them.

    documents  number, id, source, sha256, text, acl (JSON list, empty: everyone), metadata (JSON)
    chunks     number, document, start, stop          text[start:stop] of the document; no copy that could drift
    words      FTS5 over the chunks' texts, contentless: postings only
    vectors    chunk, float32 little-endian blob of length 1
    meta       schema version, identity of dataset and embedder, chunking, counts

Chosen:   written once by one connection in one transaction without a journal (the step that writes it throws the
          whole file away if it fails), so that the same input gives the same bytes; read with `immutable=1`, without
          locks, by any number of threads.
Left out: updates in place: an index is an artifact, another collection is another index.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.types import Chunk, Document

__all__ = [
    "FILE_NAME",
    "SCHEMA_VERSION",
    "check_text",
    "connect",
    "damaged",
    "read_document",
    "read_meta",
    "write_store",
]

FILE_NAME = "index.sqlite"
SCHEMA_VERSION = 1
VECTOR_TYPE = np.dtype("<f4")

_SCHEMA = """
PRAGMA page_size = 8192;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, sha256 TEXT NOT NULL,
    text TEXT NOT NULL, acl TEXT NOT NULL, metadata TEXT NOT NULL
);
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (number),
    start INTEGER NOT NULL, stop INTEGER NOT NULL, CHECK (0 <= start AND start < stop)
);
CREATE TABLE vectors (chunk INTEGER PRIMARY KEY REFERENCES chunks (number), vector BLOB NOT NULL);
CREATE VIRTUAL TABLE words USING fts5(
    text, content = '', tokenize = 'porter unicode61 remove_diacritics 2'
);
"""


def write_store(
    path: Path,
    documents: Sequence[Document],
    chunks: Sequence[Chunk],
    vectors: np.ndarray,
    meta: Mapping[str, str],
) -> None:
    """Write a new index file. `chunks` are in the order of `documents`; `vectors` (N, D) belong to them row by row.

    Raises DataError for a document that cannot be stored (twice the same, or text that is not valid Unicode), and
    WorkspaceError when the file cannot be written.
    """
    numbers = {document.id: number for number, document in enumerate(documents)}
    texts = {document.id: document.text for document in documents}
    counts = {"documents": len(documents), "chunks": len(chunks), "dimension": int(vectors.shape[1])}
    values = {"schema_version": SCHEMA_VERSION, **counts, **meta}
    path.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(_SCHEMA)
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted((k, str(v)) for k, v in values.items()))
            connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)", _document_rows(documents))
            spans = ((n, numbers[chunk.document_id], chunk.start, chunk.end) for n, chunk in enumerate(chunks))
            connection.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?)", spans)
            words = ((n, texts[chunk.document_id][chunk.start : chunk.end]) for n, chunk in enumerate(chunks))
            connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", words)
            blobs = ((n, row.astype(VECTOR_TYPE).tobytes()) for n, row in enumerate(vectors))
            connection.executemany("INSERT INTO vectors VALUES (?, ?)", blobs)
            connection.execute("INSERT INTO words (words) VALUES ('optimize')")
            connection.execute("COMMIT")
    except sqlite3.IntegrityError as error:
        raise DataError(
            f"the documents cannot be indexed: {error}", remedy="Each document may be in the dataset once."
        ) from error
    except sqlite3.Error as error:
        raise WorkspaceError(
            f"the index cannot be written: {error}", where=str(path), remedy="Free some space and run again."
        ) from error


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


def _document_rows(documents: Sequence[Document]) -> Iterator[tuple[Any, ...]]:
    for number, document in enumerate(documents):
        check_text(document)
        row = (
            number, document.id, document.source, document.sha256, document.text,
            json.dumps(sorted(document.acl), ensure_ascii=False),
            json.dumps(dict(document.metadata), ensure_ascii=False, sort_keys=True),
        )  # fmt: skip
        yield row


def connect(path: Path) -> sqlite3.Connection:
    """A read-only connection that takes no locks; may be handed from thread to thread. Raises WorkspaceError."""
    if not path.is_file():
        raise WorkspaceError("there is no index file", where=str(path), remedy="Build it with `genwerk run`.")
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise damaged(path, str(error)) from error
    return connection


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


def read_vectors(rows: Iterable[tuple[bytes]], count: int, dimension: int) -> np.ndarray:
    """Blobs to one matrix (count, dimension) float32. Raises ValueError if they do not fill it."""
    matrix = np.empty((count, dimension), dtype=np.float32)
    iterator = iter(rows)
    for start in range(0, count, 4096):
        block = b"".join(row[0] for row in islice(iterator, min(4096, count - start)))
        matrix[start : start + 4096] = np.frombuffer(block, dtype=VECTOR_TYPE).reshape(-1, dimension)
    if next(iterator, None) is not None:
        raise ValueError("more vectors than chunks")
    return matrix


def damaged(path: Path, reason: str) -> WorkspaceError:
    """The one message for a file that is not the index that was written."""
    return WorkspaceError(
        f"the index file is damaged: {reason}",
        where=str(path),
        remedy="Delete this index's folder and run the recipe again; it is built anew from the documents.",
    )
