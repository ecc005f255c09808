"""Changing the truth of an index: documents come with their chunks and vectors, and go with all that is theirs.

Everything inside `change` becomes visible together, or not at all. Of several writers at a time one changes and the
others wait for it; what they looked at before may be old by then, so whoever changes looks again inside.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from genwerk.core.errors import DataError
from genwerk.core.types import Chunk, Document
from genwerk.retrieval.truth import VECTOR_TYPE, Changing, Sql, State, Store, digest_of

__all__ = ["VectorBytes", "Writer", "add_document", "check_text", "open_writer"]

_MANY = 500  # values in one statement


class VectorBytes(bytes):
    """A vector as it is stored; a database that knows vectors keeps it as one."""


class Held(NamedTuple):
    """A document that is there."""

    id: str
    source: str
    acl: str
    metadata: str


class Writer:
    """Who may change an index. Others may read it meanwhile, and see the collection of before or of after.

    meta   what the index says of itself.
    """

    def __init__(self, sql: Sql, change: Changing, meta: dict[str, str]) -> None:
        self._sql, self.change, self.meta = sql, change, meta

    def ids(self) -> list[str]:
        """Of all documents, in the order in which they came."""
        return [identity for (identity,) in self._sql.execute("SELECT id FROM documents ORDER BY number")]

    def limited(self) -> dict[str, tuple[str, ...]]:
        """Access lists of the documents that not everyone may see, by source and by the hash of the text."""
        query = "SELECT sha256, acl FROM documents WHERE acl != '[]' UNION ALL "
        query += "SELECT source, acl FROM documents WHERE acl != '[]'"
        return {name: tuple(json.loads(acl)) for name, acl in self._sql.execute(query)}

    def last_chunk(self) -> int:
        """The highest number of a chunk."""
        return State(self._sql).last().chunk

    def named(self, name: str) -> list[str]:
        """Ids of the documents with this id or source."""
        query = "SELECT id FROM documents WHERE id = ? OR source = ?"
        return [identity for (identity,) in self._sql.execute(query, (name, name))]

    def like(self, document: Document) -> list[Held]:
        """Documents with the same id, source or text; those of its source first."""
        query = "SELECT id, source, acl, metadata FROM documents WHERE id = ? OR source = ? OR sha256 = ?"
        found = [Held(*row) for row in self._sql.execute(query, (document.id, document.source, document.sha256))]
        return sorted(found, key=lambda held: (held.source != document.source, held.id))

    def limits(self, document: Document) -> tuple[str, ...]:
        """The access list under which its source, or else its text, is there; empty where everyone sees it."""
        return next((tuple(json.loads(held.acl)) for held in self.like(document) if held.acl != "[]"), ())

    def holds(self, document: Document) -> bool:
        """Whether the document is there as it is, with its access list and metadata."""
        wanted = _acl_of(document), _metadata_of(document)
        return any(held.id == document.id and (held.acl, held.metadata) == wanted for held in self.like(document))

    def remove_like(self, document: Document) -> bool:
        """Remove what is there under the document's id or source; whether there was anything. Inside `change`."""
        found = {held.id for held in self.like(document) if document.id == held.id or document.source == held.source}
        for identity in sorted(found):
            self.remove(identity)
        return bool(found)

    def add(self, document: Document, chunks: Sequence[Chunk], vectors: Iterable[np.ndarray]) -> None:
        """A document with its chunks and a vector (D,) for each; inside `change`."""
        add_document(self._sql, document, chunks, vectors)

    def remove(self, document_id: str) -> None:
        """A document with all that is derived from it; inside `change`."""
        mine = "SELECT c.number FROM chunks c JOIN documents d ON c.document = d.number WHERE d.id = ?"
        execute = self._sql.execute
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
            for digest, blob in self._sql.execute(query, part):
                found[digest] = np.frombuffer(blob, dtype=VECTOR_TYPE)
        return found


@contextmanager
def open_writer(store: Store) -> Iterator[Writer]:
    """A writer for an index. Raises WorkspaceError where it is missing, damaged, or may not be changed."""
    with store.writing() as (sql, change):
        with store.explained():
            meta = State(sql).meta(store.where)
        yield Writer(sql, change, meta)


def add_document(sql: Sql, document: Document, chunks: Sequence[Chunk], vectors: Iterable[np.ndarray]) -> None:
    """Insert a document, its chunks, and a vector (D,) for each."""
    check_text(document)
    row = (document.id, document.source, document.sha256, document.text, _acl_of(document), _metadata_of(document))
    statement = "INSERT INTO documents (id, source, sha256, text, acl, metadata) VALUES (?, ?, ?, ?, ?, ?)"
    (number,) = sql.execute(f"{statement} RETURNING number", row).fetchone()
    sql.executemany(
        "INSERT INTO chunks (document, start, stop, digest) VALUES (?, ?, ?, ?)",
        [(number, one.start, one.end, digest_of(document.text[one.start : one.end])) for one in chunks],
    )
    places = sql.execute("SELECT number FROM chunks WHERE document = ? ORDER BY number", (number,))
    blobs = (VectorBytes(vector.astype(VECTOR_TYPE).tobytes()) for vector in vectors)
    sql.executemany(
        "INSERT INTO vectors (chunk, vector) VALUES (?, ?)",
        [(place, blob) for (place,), blob in zip(places, blobs, strict=True)],
    )


def _acl_of(document: Document) -> str:
    return json.dumps(sorted(document.acl), ensure_ascii=False)


def _metadata_of(document: Document) -> str:
    return json.dumps(dict(document.metadata), ensure_ascii=False, sort_keys=True)


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
