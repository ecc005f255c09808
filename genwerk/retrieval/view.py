"""An index as it is at one moment: rows, the documents they belong to, and both ways of searching them.

A row is a chunk, in the order in which chunks came. What a reader may not see is taken out of both searches before
anything is counted or compared, so that nothing found, no score and no count tells of it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, overload

import numpy as np

from genwerk.core.types import Chunk
from genwerk.retrieval.bm25 import BM25, Segments
from genwerk.retrieval.derived import Derived
from genwerk.retrieval.scan import Scan
from genwerk.retrieval.truth import State
from genwerk.retrieval.where import EVERYTHING, Facets, Where

__all__ = ["Chunks", "Documents", "Rows", "View", "rows_of"]

_ARM_BYTES = 1 << 27
_ARM_BYTES_A_ROW = 9  # a mask, and a norm in float64


class Rows(NamedTuple):
    """Of all rows: number of the chunk, place of its document (-1: it is gone), span; each (n,)."""

    numbers: np.ndarray
    documents: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def before(self, row: int) -> Rows:
        """The first `row` rows."""
        return Rows(*(array[:row] for array in self))

    def followed_by(self, more: Rows) -> Rows:
        """These and then `more`, in new arrays."""
        return Rows(*(np.concatenate(pair) for pair in zip(self, more, strict=True)))


NO_ROWS = Rows(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(slots=True)
class Documents:
    """Ids and access lists of all documents ever seen, by place; lists only grow, so that older views stay right.

    places   of those that are there now, by id; `numbers`: places by the number that the truth gives
    facets   what a search may be limited to
    """

    ids: list[str] = field(default_factory=list)
    acls: list[frozenset[str]] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    facets: Facets = field(default_factory=Facets)

    def read(self, state: State, after: int) -> None:
        """Take in documents with numbers above `after`."""
        for number, identity, source, acl, metadata in state.documents(after):
            self.places[identity] = self.numbers[number] = len(self.ids)
            self.facets.add(len(self.ids), source, json.loads(metadata))
            self.ids.append(identity)
            self.acls.append(frozenset(json.loads(acl)))

    def drop(self, state: State, after: int) -> list[int]:
        """Forget documents whose removal has a number above `after`; the places of those that were known."""
        gone = [self.numbers.pop(number) for number in state.removed(after) if number in self.numbers]
        for place in gone:
            if self.places.get(self.ids[place]) == place:
                del self.places[self.ids[place]]
        return gone


class Chunks(Sequence[Chunk]):
    """All chunks by row, made when asked for."""

    def __init__(self, rows: Rows, ids: Sequence[str]) -> None:
        self._rows, self._ids = rows, ids

    def __len__(self) -> int:
        return len(self._rows.numbers)

    @overload
    def __getitem__(self, row: int) -> Chunk: ...
    @overload
    def __getitem__(self, row: slice) -> list[Chunk]: ...
    def __getitem__(self, row: int | slice) -> Chunk | list[Chunk]:
        if isinstance(row, slice):
            return [self[place] for place in range(*row.indices(len(self)))]
        rows = self._rows
        return Chunk(self._ids[rows.documents[row]], int(rows.starts[row]), int(rows.stops[row]))


class View:
    """Everything of one search is asked of the same view. Any thread may use it.

    parts     what is derived for the rows, part after part.
    exactly   vectors (m, D) of the chunks with numbers (m,), from the truth.
    """

    def __init__(
        self, rows: Rows, parts: Sequence[Derived], documents: Documents, exactly: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.rows, self.parts, self._documents = rows, tuple(parts), documents
        self.chunks = Chunks(rows, documents.ids)
        self.scan = Scan([part.vectors for part in parts], lambda some: exactly(rows.numbers[some]))
        self.vocabularies = [part.vocabulary for part in parts]
        self._segments = Segments([part.postings for part in parts])
        self._lock = threading.Lock()
        self._arms: dict[tuple[frozenset[str], Where], BM25] = {}

    def words(self, groups: Collection[str] = (), exclude: Collection[str] = (), where: Where = EVERYTHING) -> BM25:
        """The search by words in what `groups` see and `where` means, without the documents in `exclude`.

        Its `visible` (n,) are those rows, for the other search too; None: all.
        Raises RequestError for a filter by what none of their documents has.
        """
        places = [self._documents.places[identity] for identity in exclude if identity in self._documents.places]
        key = frozenset(groups), where
        return self._arm(*key, places) if places else self._kept(key)

    def may_see(self, document_id: str, groups: Collection[str] = ()) -> bool:
        """Whether somebody in `groups` may see the document: it is there, and for everyone or for one of them."""
        place = self._documents.places.get(document_id)
        acl = self._documents.acls[place] if place is not None else None
        return acl is not None and (not acl or not acl.isdisjoint(groups))

    def _kept(self, key: tuple[frozenset[str], Where]) -> BM25:
        with self._lock:
            if key not in self._arms:
                arm = self._arm(*key, ())
                if len(self._arms) >= max(4, min(256, _ARM_BYTES // (_ARM_BYTES_A_ROW * len(self.chunks) + 1))):
                    self._arms.clear()  # so many kinds of readers: start over rather than grow
                self._arms[key] = arm
            return self._arms[key]

    def _arm(self, groups: frozenset[str], where: Where, without: Sequence[int]) -> BM25:
        there = self.rows.documents >= 0
        counts = np.bincount(self.rows.documents[there], minlength=len(self._documents.acls))
        acls = self._documents.acls[: len(counts)]
        seen = (counts > 0) & np.array([not acl or not acl.isdisjoint(groups) for acl in acls], dtype=bool)
        seen = self._documents.facets.matching(where, seen)
        seen[list(without)] = False
        visible = there & seen[self.rows.documents] if len(seen) else there
        languages = self._documents.facets.values("language", seen)
        return BM25(self._segments, None if visible.all() else visible, languages)


def rows_of(documents: Documents, numbers: np.ndarray, spans: np.ndarray) -> Rows:
    """The chunks `numbers` (n,), of which `spans` (m, 4) are there, both in order; the others are gone.

    Raises ValueError where there are chunks that are not named.
    """
    if not len(numbers):
        return NO_ROWS
    places = np.minimum(np.searchsorted(numbers, spans[:, 0]), len(numbers) - 1)
    if not np.array_equal(numbers[places], spans[:, 0]):
        raise ValueError("what was derived and the chunks do not belong together")
    held = np.full((len(numbers), 3), -1, dtype=np.int64)
    held[places] = spans[:, 1:]
    held[places, 0] = [documents.numbers[number] for number in spans[:, 1].tolist()]
    return Rows(numbers, held[:, 0].astype(np.int32), held[:, 1].copy(), held[:, 2].copy())
