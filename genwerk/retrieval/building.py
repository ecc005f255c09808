"""Building an index: documents are cut into chunks, chunks become vectors, and all of it goes into one file.

    build_index    a step of a recipe: dataset ─ chunk ─ embed (checkpointed) ─ index.sqlite + derived-N/
    LiveIndex      an index that is kept in step with documents that come, change, move and go

Chosen:   in a step, embeddings are kept in the scratch folder every 1,024 chunks, so that a killed build goes on where
          it was and ends in the same bytes. A living index is changed document by document: each is there as a whole or
          not at all, what was killed is finished by doing it again, and a text that is already there is not embedded
          again, whatever its document is called.
Left out: changes by several processes at once; the second is told to wait.
Try it:   python benchmarks/index.py --chunks 200
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genwerk.core.atomic import write_bytes
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.lock import hold
from genwerk.core.progress import track
from genwerk.core.types import Chunk, Document
from genwerk.core.workspace import Artifact, Source, Step
from genwerk.data.documents import load_documents
from genwerk.retrieval.chunking import RecursiveChunker
from genwerk.retrieval.derived import covered_by, derive
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.store import FILE_NAME, Writer, check_text, digest_of, write_store

__all__ = ["Change", "IndexConfig", "LiveIndex", "build_index"]

_CHECKPOINT_CHUNKS = 1024
_STALE = 0.1  # share of chunks that came later, from which on what is derived is made anew
_STALE_AT_LEAST = 4096


class IndexConfig(Config):
    """How documents are cut into chunks."""

    max_chars: int = Field(700, ge=50, description="longest chunk in characters; the encoder's window limits it too")
    min_chars: int = Field(200, ge=0, description="a section shorter than this is joined with the next one")

    def chunker(self, embedder: Embedder) -> RecursiveChunker:
        """Cuts documents for this embedder."""
        return RecursiveChunker(
            max_chars=self.max_chars,
            min_chars=min(self.min_chars, self.max_chars),
            count_tokens=embedder.count_tokens,
            max_tokens=embedder.window,
        )


def build_index(
    config: IndexConfig, step: Step, dataset: Artifact, embedder_dir: Source | Artifact
) -> dict[str, float | int | str]:
    """Write the index into `step.out`. Raises DataError when the dataset has no text."""
    started = time.perf_counter()
    documents = load_documents(dataset.path)
    for document in documents:
        check_text(document)
    embedder = Embedder.load(embedder_dir.path)
    chunker = config.chunker(embedder)
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
    derive(step.out / FILE_NAME)
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
    """A folder with an index that follows its documents. One process may change it, any number may read it.

    name    by which the embedder can be had again; its own by default.

    Raises WorkspaceError where the index there was made with another embedder or cut in another way.
    """

    def __init__(self, folder: Path, embedder: Embedder, config: IndexConfig | None = None, *, name: str = "") -> None:
        self.path = Path(folder) / FILE_NAME
        self._embedder, self._config = embedder, config or IndexConfig()
        self._chunker = self._config.chunker(embedder)
        self._meta = {
            "embedder": embedder.identity,
            "embedder_name": name or embedder.name,
            "chunking": f"recursive {self._config.canonical()}",
        }
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            started = f"{time.time_ns():x}"
            part = self.path.with_suffix(".part")
            part.unlink(missing_ok=True)
            write_store(
                part, [], [], np.zeros((0, embedder.dimension)), {**self._meta, "identity": started}, living=True
            )
            part.rename(self.path)

    def sync(self, documents: Iterable[Document], *, prune: bool = False) -> Change:
        """Take documents in. One whose source is there with another text, access list or metadata takes its place.

        prune   remove every document that is not among `documents`.
        Raises DataError for a text that is none, WorkspaceError when the index cannot be changed.
        """
        change, kept = Change(), set()
        with self._writing() as writer:
            waiting: list[_Coming] = []
            chunks = 0
            for document in documents:
                kept.add(document.id)
                if writer.holds(document):
                    change.unchanged += 1
                    continue
                waiting.append(_Coming(document, self._chunker.chunk(document)))
                chunks += len(waiting[-1].chunks)
                if chunks >= _CHECKPOINT_CHUNKS:
                    self._take_in(writer, waiting, change)
                    waiting, chunks = [], 0
            self._take_in(writer, waiting, change)
            if prune:
                self._remove(writer, [identity for identity in writer.held() if identity not in kept], change)
            self._derive_if_stale(writer.last_chunk())
        return change

    def remove(self, names: Iterable[str]) -> Change:
        """Remove documents by id or source. Raises WorkspaceError for one that is not there; then none is removed."""
        change = Change()
        with self._writing() as writer:
            found = {name: writer.named(name) for name in names}
            if missing := [name for name, identities in found.items() if not identities]:
                raise WorkspaceError(
                    f"not in the index: {', '.join(sorted(missing)[:5])}",
                    where=str(self.path),
                    remedy="Name documents by id or source as `genwerk index inspect` lists them.",
                )
            self._remove(writer, sorted({one for identities in found.values() for one in identities}), change)
        return change

    def limited(self) -> dict[str, tuple[str, ...]]:
        """Who may see the documents that not everyone may see, by source and by the hash of the text."""
        with self._writing() as writer:
            return writer.limited()

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        """The index, open for changes, while nobody else changes it."""
        with hold(self.path.with_suffix(".lock"), wait=0, busy=self._busy), closing(Writer(self.path)) as writer:
            for key, value in self._meta.items():
                if key != "embedder_name" and writer.meta.get(key) != value:
                    raise WorkspaceError(
                        f"the index was made with another {key}: {writer.meta.get(key)}, not {value}",
                        where=str(self.path),
                        remedy="Give the same embedder and the same cutting, or build a new index in another folder.",
                    )
            yield writer

    def _take_in(self, writer: Writer, coming: Sequence[_Coming], change: Change) -> None:
        """One change of the index: all of `coming`, and what they take the place of."""
        if not coming:
            return
        texts = {digest_of(text): text for one in coming for text in one.texts()}
        vectors = writer.vectors_of(list(texts))
        fresh = [digest for digest in texts if digest not in vectors]
        with track("embedding", total=len(fresh), unit="chunks") as bar:
            for rows, part in self._embedder.embed_batches(self._embedder.tokenize([texts[one] for one in fresh])):
                vectors.update((fresh[row], vector) for row, vector in zip(rows, part, strict=True))
                bar.advance(len(rows))
        with writer.change():
            for one in coming:
                replaced = writer.remove_like(one.document)
                writer.add(one.document, one.chunks, [vectors[digest_of(text)] for text in one.texts()])
                change.replaced += replaced
                change.added += not replaced
        change.embedded += len(fresh)
        change.reused += sum(len(one.chunks) for one in coming) - len(fresh)

    def _remove(self, writer: Writer, identities: Sequence[str], change: Change) -> None:
        with writer.change():
            for identity in identities:
                writer.remove(identity)
        change.removed += len(identities)

    def _derive_if_stale(self, last: int) -> None:
        covered = covered_by(self.path)
        if last - covered >= max(_STALE_AT_LEAST, _STALE * covered):
            derive(self.path)

    def _busy(self, holder: object) -> WorkspaceError:
        return WorkspaceError(
            f"the index is being changed by {holder}", where=str(self.path), remedy="Wait until it is done."
        )


@dataclass(frozen=True, slots=True)
class _Coming:
    """A document that is to be taken in, cut."""

    document: Document
    chunks: list[Chunk]

    def texts(self) -> list[str]:
        check_text(self.document)
        return [self.document.text[chunk.start : chunk.end] for chunk in self.chunks]
