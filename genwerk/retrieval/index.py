"""The index, opened for reading: the truth (truth.py) with what is derived from it (derived.py), as views (view.py).

Chosen:   numbers and spans of all chunks are held in arrays (28 bytes a chunk); texts are read when they are shown;
          vectors and postings are mapped. `refresh` reads what others added and removed since, and nothing else
          (held.py). What came later and is held in memory stays less than about a tenth: beyond it a thread derives
          anew where nobody else does, goes over to what was derived, and forgets what has gone.
Try it:   genwerk index search "…"
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from genwerk.core.errors import GenwerkError, WorkspaceError
from genwerk.core.progress import say
from genwerk.core.types import Chunk, Document
from genwerk.retrieval.derived import derive_if_stale, find_derived
from genwerk.retrieval.held import Held
from genwerk.retrieval.stores import open_store
from genwerk.retrieval.truth import Sql, State, stack
from genwerk.retrieval.view import Chunks, View

__all__ = ["GoneError", "Index"]

T = TypeVar("T")

_CACHED_DOCUMENTS = 64


class GoneError(WorkspaceError):
    """A document is not there, or no longer for this reader."""


class Index:
    """An index, open for reading. Any thread may use it.

    where  as messages name it; folder: where what is derived lies.
    view   chunks and both ways of searching as they are now; `refresh` makes another.
    meta   what the index says of itself: embedder, dataset_sha256, chunking, ...
    """

    def __init__(self, place: Path | str) -> None:
        self._store = open_store(place)
        self.where, self.folder = self._store.where, self._store.folder
        self._idle: queue.LifoQueue[Sql] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._deriving: threading.Thread | None = None
        self.document = lru_cache(maxsize=_CACHED_DOCUMENTS)(self._document)
        with self._reading() as state:
            self.meta, last = state.meta(self.where), state.last()
            self.dimension = int(self.meta["dimension"])
        self._living = self._store.is_living()
        if self._store.shared:
            derive_if_stale(self._store, self.meta["identity"], last.chunk)
        held = self._held = self._begin()
        with self._reading() as state:
            held.follow(state)
        self._seen = held.seen

    @classmethod
    def open(cls, place: Path | str) -> Self:
        """Open an index file, or the folder it lies in, or one in PostgreSQL by its URL.

        Raises WorkspaceError when it is missing, damaged or of another schema version.
        """
        return cls(place)

    @property
    def view(self) -> View:
        """Everything of one search is asked of one."""
        return self._held.view

    @property
    def chunks(self) -> Chunks:
        """All chunks of the present view by row."""
        return self.view.chunks

    @property
    def document_ids(self) -> tuple[str, ...]:
        """Of all documents that are in it, in the order in which they came."""
        return tuple(self._held.documents.places)

    def may_see(self, document_id: str, groups: Collection[str] = ()) -> bool:
        """Whether somebody in `groups` may see the document: it is for everyone, or for one of them."""
        return self.view.may_see(document_id, groups)

    def refresh(self) -> bool:
        """Take in what others added and removed since; whether there was anything. One statement where there was not.

        A recipe's index never changes: nothing is asked of it.
        Raises WorkspaceError, also where another index has been put in the place of this one.
        """
        if not self._living:
            return False
        with self._store.explained(), self.connection() as sql:
            identity, last = State(sql).moment()
        if identity != self.meta["identity"]:
            remedy = "Start the server, or the command, again."
            raise WorkspaceError("another index has been put in the place of this one", where=self.where, remedy=remedy)
        if last == self._seen:
            return False
        with self._lock, self._reading() as state:
            changed = self._take(self._held, state)
            if self._held.is_late and not (self._deriving and self._deriving.is_alive()):
                self._deriving = threading.Thread(target=self._derive_anew, name="derive", daemon=True)
                self._deriving.start()
            return changed

    @property
    def state(self) -> str:
        """Changes with every change of what is found: what is kept of an index is kept under this."""
        return "-".join(map(str, (self.meta["identity"], *self._seen)))

    def following(self, ask: Callable[[], T]) -> T:
        """What `ask` finds in the index as it is now; asked again where a document that it found went meanwhile."""
        self.refresh()
        while True:
            before = self.state
            try:
                return ask()
            except GoneError:
                self.refresh()
                if self.state == before:  # nor did another thread refresh it meanwhile
                    raise

    def _begin(self, beyond: int = 0) -> Held:
        """With what is derived, where that goes beyond a number."""
        held = Held(self.dimension, self.vectors)
        with self._reading() as state:
            base = find_derived(state, self.folder, self.meta)
            if base is not None and len(base) and base.numbers[-1] > beyond:
                held.start_from(base, state)
        return held

    def _take(self, held: Held, state: State) -> bool:
        """Follow with `held`, and from now on find what it holds; whether anything is new."""
        if not held.follow(state) and held is self._held:
            return False
        self._held = held
        # another cache: who reads a document meanwhile keeps it in the old one
        self.document = lru_cache(maxsize=_CACHED_DOCUMENTS)(self._document)
        self._seen = held.seen  # last: who finds it may ask
        return True

    def _derive_anew(self) -> None:
        """Go over to what is derived by now; until then all is found in what is held."""
        try:
            if self._store.shared:
                derive_if_stale(self._store, self.meta["identity"], self._held.seen.chunk)
            held = self._begin(self._held.covered)
            if held.covered:
                with self._reading() as state:
                    held.follow(state)  # the most of it while others may follow
                with self._lock, self._reading() as state:
                    self._take(held, state)
        except GenwerkError as error:
            say(f"{self.where}: what came later is held in memory, and tried again: {error}", style="yellow")

    @contextmanager
    def _reading(self) -> Iterator[State]:
        """One state of the truth. Raises WorkspaceError where it is damaged."""
        with self.connection() as sql, self._store.state(sql) as state:
            yield state

    @contextmanager
    def connection(self) -> Iterator[Sql]:
        """Lend a connection of the pool; as many are made as are used at once. One that failed is not lent again."""
        sql = self._idle_one() or self._store.connect()
        try:
            yield sql
        except BaseException:
            sql.close()
            raise
        self._idle.put(sql)

    def _idle_one(self) -> Sql | None:
        with suppress(queue.Empty):
            while True:
                sql = self._idle.get_nowait()
                if self._store.usable(sql):
                    return sql
                sql.close()
        return None

    def close(self) -> None:
        """Close all idle connections, when what is derived in the background is done."""
        if self._deriving is not None:
            self._deriving.join()
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def shown(self, document_id: str, groups: Collection[str] = ()) -> Document:
        """The document, for somebody in `groups`. Raises GoneError where it is not there, or not for them."""
        document = self.document(document_id)
        if not document.may_be_seen(groups):
            raise self._gone(document_id)
        return document

    def _gone(self, document_id: str) -> GoneError:
        what = f"document {document_id} is not in the index"
        return GoneError(what, where=self.where, remedy="Build the index again.")

    def _document(self, document_id: str) -> Document:
        """The document with its whole text. Raises GoneError for an id that is not in the index."""
        with self._store.explained(), self.connection() as sql:
            found = State(sql).document(document_id)
        if found is None:
            raise self._gone(document_id)
        return found

    def chunk_text(self, chunk: Chunk) -> str:
        """The chunk's text, cut from its document."""
        return self.document(chunk.document_id).text[chunk.start : chunk.end]

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """Vectors (m, D) float32 of chunks by number (m,), from the truth; 0 where one has gone meanwhile."""
        found = np.zeros((len(numbers), self.dimension), dtype=np.float32)
        wanted = numbers.tolist()
        with self._store.explained(), self.connection() as sql:
            held = State(sql).vectors_of(sorted(wanted))
            there = [place for place, number in enumerate(wanted) if number in held]
            found[there] = stack((held[wanted[place]] for place in there), self.dimension)
        return found

    def digests(self, numbers: np.ndarray) -> list[bytes]:
        """By which the texts of chunks by number (m,) are known; a different one for each that has gone meanwhile."""
        wanted = numbers.tolist()
        with self._store.explained(), self.connection() as sql:
            held = State(sql).digests_of(sorted(wanted))
        return [held.get(number, str(number).encode()) for number in wanted]
