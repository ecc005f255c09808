"""Building an index: documents are cut into chunks, chunks become vectors, and all of it goes into one place.

    build_index    a step of a recipe: dataset ─ chunk ─ embed (checkpointed) ─ index.sqlite + derived-N/
    LiveIndex      an index that is kept in step with documents that come, change, move and go

Chosen:   in a step, embeddings are kept in the scratch folder every 1,024 chunks, so that a killed build goes on where
          it was and ends in the same bytes. A living index is changed document by document: each is there as a whole or
          not at all, what was killed is finished by doing it again, and a text that is already there is not embedded
          again, whatever its document is called (but under headers, which name the document).
          Several writers (postgres.py) embed side by side and change one after the other; what one looked at before
          embedding it looks at again inside its change.
Try it:   python benchmarks/index.py --chunks 200
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genwerk.core.atomic import write_bytes
from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.progress import track
from genwerk.core.types import Chunk, Document
from genwerk.core.workspace import Artifact, Source, Step
from genwerk.data.documents import load_documents
from genwerk.retrieval.cutting import cut_resumable
from genwerk.retrieval.derived import derive, derive_if_stale
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.index_config import IndexConfig
from genwerk.retrieval.store import FILE_NAME, FileStore, write_store
from genwerk.retrieval.stores import open_store
from genwerk.retrieval.truth import digest_of
from genwerk.retrieval.writer import Writer, check_text, open_writer

__all__ = ["Change", "IndexConfig", "LiveIndex", "build_index"]

_CHECKPOINT_CHUNKS = 1024
_Limits = Mapping[str, tuple[str, ...]]


def build_index(
    config: IndexConfig, step: Step, dataset: Artifact, embedder_dir: Source | Artifact
) -> dict[str, float | int | str]:
    """Write the index into `step.out`. Raises DataError when the dataset has no text."""
    started = time.perf_counter()
    documents = load_documents(dataset.path)
    for document in documents:
        check_text(document)
    embedder = Embedder.load(embedder_dir.path)
    chunker, texts_for = config.chunker_for(embedder), config.texts_for(embedder)
    chunks: list[Chunk] = []
    texts: list[str] = []
    for document, cut in zip(documents, cut_resumable(chunker, documents, step.scratch), strict=True):
        chunks += cut
        texts += texts_for(document, cut)
    if not chunks:
        raise DataError(
            "there is nothing to index: the dataset has no text",
            where=str(dataset.path),
            remedy="Check `documents:` in the recipe and the ledger of the dataset.",
        )
    before = time.perf_counter()
    vectors = embed_resumable(embedder, texts, step.scratch)
    embedding = time.perf_counter() - before
    meta = {
        "dataset_sha256": dataset.content_sha256,
        "embedder": embedder.identity,
        "embedder_name": embedder_dir.name if isinstance(embedder_dir, Source) else embedder_dir.kind,
        "chunking": config.described,
    }
    write_store(step.out / FILE_NAME, documents, chunks, vectors, meta)
    derive(FileStore(step.out / FILE_NAME))
    total = time.perf_counter() - started
    return {
        "documents": len(documents),
        "chunks": len(chunks),
        "dimension": embedder.dimension,
        "precision": embedder.precision,
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


@dataclass(slots=True)
class Change:
    """What was done: documents that came, came in place of another, went, and stayed; chunks embedded and reused."""

    added: int = 0
    replaced: int = 0
    removed: int = 0
    unchanged: int = 0
    embedded: int = 0
    reused: int = 0


class LiveIndex:
    """An index that follows its documents, in a folder (one process may change it) or in PostgreSQL (any number may).

    place   the folder, or the URL of the database.
    name    by which the embedder can be had again; its own by default.

    Raises WorkspaceError where the index there was made with another embedder or cut in another way.
    """

    def __init__(
        self, place: Path | str, embedder: Embedder, config: IndexConfig | None = None, *, name: str = ""
    ) -> None:
        self.store = open_store(place)
        self._embedder, self._config = embedder, config or IndexConfig()
        self._chunker, self._texts_for = self._config.chunker_for(embedder), self._config.texts_for(embedder)
        self._meta = {
            "embedder": embedder.identity,
            "embedder_name": name or embedder.name,
            "chunking": self._config.described,
        }
        if not self.store.exists():
            self.store.create(embedder.dimension, {**self._meta, "identity": secrets.token_hex(8)})

    def sync(self, documents: Iterable[Document], *, prune: bool = False, keep_limits: bool = False) -> Change:
        """Take documents in. One whose source is there with another text, access list or metadata takes its place.

        prune         remove every document that is not among `documents`.
        keep_limits   a document without an access list has the one under which its source or its text is there.
        Raises DataError for a text that is none, WorkspaceError when the index cannot be changed.
        """
        change, kept = Change(), set()
        with self._writing() as writer:
            known = writer.limited() if keep_limits else None
            waiting: list[_Coming] = []
            chunks = 0
            for document in documents:
                kept.add(document.id)
                if writer.holds(_limited(document, writer, known)):
                    change.unchanged += 1
                    continue
                waiting.append(self._cut(document))
                chunks += len(waiting[-1].chunks)
                if chunks >= _CHECKPOINT_CHUNKS:
                    self._take_in(writer, waiting, change, known)
                    waiting, chunks = [], 0
            self._take_in(writer, waiting, change, known)
            if prune:
                with writer.change():
                    gone = [identity for identity in writer.ids() if identity not in kept]
                    self._remove(writer, gone, change)
            derive_if_stale(self.store, writer.meta["identity"], writer.last_chunk())
        return change

    def remove(self, names: Iterable[str]) -> Change:
        """Remove documents by id or source. Raises WorkspaceError for one that is not there; then none is removed."""
        change = Change()
        with self._writing() as writer, writer.change():
            found = {name: writer.named(name) for name in names}
            if missing := [name for name, identities in found.items() if not identities]:
                raise WorkspaceError(
                    f"not in the index: {', '.join(sorted(missing)[:5])}",
                    where=self.store.where,
                    remedy="Name documents by id or source as `genwerk index inspect` lists them.",
                )
            self._remove(writer, sorted({one for identities in found.values() for one in identities}), change)
        return change

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        """The index, open for changes, if it was made as this one would make it."""
        with open_writer(self.store) as writer:
            alike = {
                "embedder": writer.meta.get("embedder") == self._embedder.identity,
                "chunking": IndexConfig.of(writer.meta).described == self._meta["chunking"],
            }
            for key, same in alike.items():
                if not same:
                    raise WorkspaceError(
                        f"the index was made with another {key}: {writer.meta.get(key)}, not {self._meta[key]}",
                        where=self.store.where,
                        remedy="Give the same embedder and the same cutting, or build a new index in another place.",
                    )
            yield writer

    def _take_in(self, writer: Writer, coming: Sequence[_Coming], change: Change, known: _Limits | None) -> None:
        """One change of the index: all of `coming`, and what they take the place of."""
        if not coming:
            return
        texts = {digest_of(text): text for one in coming for text in one.texts}
        vectors = {} if self._config.headers else writer.vectors_of(list(texts))  # what is known is a text by itself
        fresh = [digest for digest in texts if digest not in vectors]
        with track("embedding", total=len(fresh), unit="chunks") as bar:
            for rows, part in self._embedder.embed_batches(self._embedder.tokenize([texts[one] for one in fresh])):
                vectors.update((fresh[row], vector) for row, vector in zip(rows, part, strict=True))
                bar.advance(len(rows))
        with writer.change():  # others may have written since it was looked at
            for one in coming:
                document = _limited(one.document, writer, known)
                if writer.holds(document):
                    change.unchanged += 1
                    continue
                replaced = writer.remove_like(document)
                writer.add(document, one.chunks, [vectors[digest_of(text)] for text in one.texts])
                change.replaced += replaced
                change.added += not replaced
        change.embedded += len(fresh)
        change.reused += sum(len(one.chunks) for one in coming) - len(fresh)

    def _cut(self, document: Document) -> _Coming:
        check_text(document)
        chunks = self._chunker.chunk(document)
        return _Coming(document, chunks, self._texts_for(document, chunks))

    def _remove(self, writer: Writer, identities: Sequence[str], change: Change) -> None:
        for identity in identities:
            writer.remove(identity)
        change.removed += len(identities)


def _limited(document: Document, writer: Writer, known: _Limits | None) -> Document:
    """The document; if it brings no access list, under the one it has now, or had when this began: `known`."""
    if document.acl or known is None:
        return document
    before = known.get(document.source) or known.get(document.sha256, ())
    return replace(document, acl=writer.limits(document) or before)


@dataclass(frozen=True, slots=True)
class _Coming:
    """A document that is to be taken in, its chunks, and the texts that are embedded for them."""

    document: Document
    chunks: list[Chunk]
    texts: list[str]
