"""The index: built once from a dataset and an embedder, then opened read-only by everything that searches.

    dataset ─ chunk ─ embed (checkpointed) ─ one SQLite file (store.py)

Chosen:   embeddings are kept in the step's scratch folder every 1,024 chunks, so that a killed build goes on where it
          was and ends in the same bytes; the vectors are read into one matrix when the index is opened.
Left out: an approximate search structure; up to some 100,000 chunks the exact product is faster than the embedding.
Try it:   python benchmarks/index.py --chunks 200
"""

from __future__ import annotations

import io
import queue
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np

from genwerk.core.atomic import write_bytes
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.progress import track
from genwerk.core.types import Chunk, Document
from genwerk.core.workspace import Artifact, Source, Step
from genwerk.data.documents import load_documents
from genwerk.retrieval.chunking import RecursiveChunker
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.store import (
    FILE_NAME,
    check_text,
    connect,
    damaged,
    read_document,
    read_meta,
    read_vectors,
    write_store,
)

__all__ = ["Index", "IndexConfig", "build_index"]

_CHECKPOINT_CHUNKS = 1024
_CACHED_DOCUMENTS = 64
_CACHED_WORDS = 16_384


class IndexConfig(Config):
    """How documents are cut into chunks."""

    max_chars: int = Field(700, ge=50, description="longest chunk in characters; the encoder's window limits it too")
    min_chars: int = Field(200, ge=0, description="a section shorter than this is joined with the next one")


def build_index(
    config: IndexConfig, step: Step, dataset: Artifact, embedder_dir: Source | Artifact
) -> dict[str, float | int | str]:
    """Write `index.sqlite` into `step.out`. Raises DataError when the dataset has no text."""
    started = time.perf_counter()
    documents = load_documents(dataset.path)
    for document in documents:
        check_text(document)
    embedder = Embedder.load(embedder_dir.path)
    chunker = RecursiveChunker(
        max_chars=config.max_chars,
        min_chars=min(config.min_chars, config.max_chars),
        count_tokens=embedder.count_tokens,
        max_tokens=embedder.window,
    )
    chunks = [chunk for document in documents for chunk in chunker.chunk(document)]
    if not chunks:
        raise DataError(
            "there is nothing to index: the dataset has no text",
            where=str(dataset.path),
            remedy="Check `documents:` in the recipe and the ledger of the dataset.",
        )
    texts = {document.id: document.text for document in documents}
    chunk_texts = [texts[chunk.document_id][chunk.start : chunk.end] for chunk in chunks]
    before = time.perf_counter()
    vectors = embed_resumable(embedder, chunk_texts, step.scratch)
    embedding = time.perf_counter() - before
    meta = {
        "dataset_sha256": dataset.content_sha256,
        "embedder": embedder.identity,
        "embedder_name": embedder_dir.name if isinstance(embedder_dir, Source) else embedder_dir.kind,
        "chunking": f"recursive {config.canonical()}",
    }
    write_store(step.out / FILE_NAME, documents, chunks, vectors, meta)
    total = time.perf_counter() - started
    return {
        "documents": len(documents),
        "chunks": len(chunks),
        "dimension": embedder.dimension,
        "seconds": round(total, 3),
        "embedding_seconds": round(embedding, 3),
    }


def embed_resumable(embedder: Embedder, texts: Sequence[str], scratch: Path) -> np.ndarray:
    """Vectors (N, D) of `texts`; every 1,024 are kept in `scratch` and found there by the next attempt."""
    sequences = embedder.tokenize(texts)
    order = sorted(range(len(texts)), key=lambda place: (-len(sequences[place]), place))
    vectors = np.empty((len(texts), embedder.dimension), dtype=np.float32)
    with track("embedding", total=len(texts), unit="chunks") as bar:
        for start in range(0, len(order), _CHECKPOINT_CHUNKS):
            places = order[start : start + _CHECKPOINT_CHUNKS]
            kept = scratch / f"vectors-{start:08d}.npy"
            found = _load_kept(kept, (len(places), embedder.dimension))
            if found is None:
                found = np.empty((len(places), embedder.dimension), dtype=np.float32)
                for rows, part in embedder.embed_batches([sequences[place] for place in places]):
                    found[rows] = part
                    bar.advance(len(rows))
                buffer = io.BytesIO()
                np.save(buffer, found, allow_pickle=False)
                write_bytes(kept, buffer.getvalue())
            else:
                bar.advance(len(places))
            vectors[places] = found
    return vectors


def _load_kept(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Vectors kept by an earlier attempt, or None; a file of another shape is not ours."""
    if not path.is_file():
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # written atomically, so this is another program's file: it is written anew
    return found if found.shape == shape and found.dtype == np.float32 else None


class Index:
    """A built index, open for reading. Any thread may use it.

    chunks    all chunks by number; `vectors` (N, D) float32 belong to them row by row.
    meta      what the index says of itself: embedder, dataset_sha256, chunking, ...
    """

    def __init__(self, path: Path) -> None:
        self.path = path / FILE_NAME if path.is_dir() else path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._masks: dict[frozenset[str], np.ndarray | None] = {}
        self._lock = threading.Lock()
        with self.connection() as connection:
            self.meta = read_meta(connection, self.path)
            self._load(connection)
        self.document = lru_cache(maxsize=_CACHED_DOCUMENTS)(self._document)
        self.chunks_with = lru_cache(maxsize=_CACHED_WORDS)(self._chunks_with)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index file, or the folder of an index artifact.

        Raises WorkspaceError when it is missing, damaged or of another schema version.
        """
        return cls(Path(path))

    def _load(self, connection: sqlite3.Connection) -> None:
        try:
            n_documents, n_chunks = int(self.meta["documents"]), int(self.meta["chunks"])
            self.dimension = int(self.meta["dimension"])
            rows = connection.execute("SELECT id, acl FROM documents ORDER BY number").fetchall()
            self.document_ids: tuple[str, ...] = tuple(row[0] for row in rows)
            self._acls = [frozenset(read_document((row[0], "", "", "", row[1], "{}")).acl) for row in rows]
            spans = connection.execute("SELECT document, start, stop FROM chunks ORDER BY number").fetchall()
            self._document_of = np.array([row[0] for row in spans], dtype=np.int64)
            self.chunks: tuple[Chunk, ...] = tuple(Chunk(self.document_ids[d], a, b) for d, a, b in spans)
            blobs = connection.execute("SELECT vector FROM vectors ORDER BY chunk")
            self.vectors = read_vectors(blobs, n_chunks, self.dimension)
            connection.execute("SELECT count(*) FROM words WHERE words MATCH '\"a\"'").fetchone()
        except (sqlite3.Error, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
            raise damaged(self.path, str(error)) from error
        if (len(self.document_ids), len(self.chunks)) != (n_documents, n_chunks):
            raise damaged(self.path, f"{len(self.chunks)} chunks where {n_chunks} were written")
        self._numbers = {identity: number for number, identity in enumerate(self.document_ids)}

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

    def _chunks_with(self, word: str) -> int:
        """How many chunks hold `word` (letters and digits), in any inflection that the index takes for the same."""
        try:
            with self.connection() as connection:
                row = connection.execute("SELECT count(*) FROM words WHERE words MATCH ?", (f'"{word}"',)).fetchone()
        except sqlite3.Error as error:
            raise damaged(self.path, str(error)) from error
        return int(row[0])

    def chunk_text(self, chunk: Chunk) -> str:
        """The chunk's text, cut from its document."""
        return self.document(chunk.document_id).text[chunk.start : chunk.end]

    def may_see(self, document_id: str, groups: Collection[str] = ()) -> bool:
        """Whether somebody in `groups` may see the document: it is for everyone, or for one of them."""
        acl = self._acls[self._numbers[document_id]]
        return not acl or not acl.isdisjoint(groups)

    def visible(self, groups: Collection[str] = (), exclude: Collection[str] = ()) -> np.ndarray | None:
        """Mask (N,) of the chunks that `groups` may see without the documents in `exclude`; None means all."""
        mask = self._visible_to(frozenset(groups))
        numbers = [self._numbers[identity] for identity in exclude if identity in self._numbers]
        if not numbers:
            return mask
        kept = ~np.isin(self._document_of, numbers)
        return kept if mask is None else mask & kept

    def _visible_to(self, groups: frozenset[str]) -> np.ndarray | None:
        with self._lock:
            if groups not in self._masks:
                if len(self._masks) >= 256:  # so many kinds of readers: start over rather than grow
                    self._masks.clear()
                allowed = np.array([not acl or not acl.isdisjoint(groups) for acl in self._acls], dtype=bool)
                self._masks[groups] = None if allowed.all() else allowed[self._document_of]
            return self._masks[groups]
