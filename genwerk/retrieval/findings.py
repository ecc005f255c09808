"""What is asked of a search and what it found, in the words that searches, answers, pages and measures share."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict, TypeVar

import numpy as np

from genwerk.core.errors import RequestError
from genwerk.core.types import ARMS, Chunk, Retrieved
from genwerk.retrieval.bm25 import BM25
from genwerk.retrieval.where import EVERYTHING, Where

__all__ = [
    "AS_FITTED",
    "FUSIONS",
    "NO_REWRITE",
    "REWRITES",
    "Candidates",
    "Correction",
    "Findings",
    "Found",
    "FusionChoice",
    "How",
    "Options",
    "Rank",
    "Signals",
    "reciprocal_ranks",
]  # fmt: skip

T = TypeVar("T", bound=Hashable)

FUSIONS = ("weighted", "rrf")
NO_REWRITE = "none"
REWRITES = (NO_REWRITE, "multi-query", "decomposition", "hyde")
_RRF = 60  # as in the paper


@dataclass(frozen=True, slots=True)
class FusionChoice:
    """Which arm serves, and the share `weight` of meaning in the hybrid arm."""

    arm: str = "hybrid"
    weight: float = 0.5


@dataclass(frozen=True, slots=True)
class Signals:
    """What the scores of one query say about whether its answer is there at all. All 0 when nothing was found.

    cosine      of the best passage by meaning
    margin      how far it stands above the mean of the first ten by meaning
    bm25        of the best passage by words, divided by the number of the query's words
    lead        how far its BM25 score stands above the mean of the first ten by words
    coverage    largest share of the query's words found in one of the first three passages, rare words weighing more:
                a word in n of N passages weighs ln((N + 1) / (n + 0.5))
    reranker    log-odds of the best of the first passages by a reranker; 0 without one
    """

    cosine: float = 0.0
    margin: float = 0.0
    bm25: float = 0.0
    lead: float = 0.0
    coverage: float = 0.0
    reranker: float = 0.0


@dataclass(frozen=True, slots=True)
class Options:
    """How one search differs from the one that was fitted.

    where     documents it is about.
    fusion    weighted or rrf; weight: of meaning in the weighted one, None: as fitted.
    mmr       λ of maximal marginal relevance (diversity.py); None: the order of the scores.
    distinct  of identical texts only the first.
    spelling  a word that the collection does not hold is looked up by its nearest ones.
    rerank    whether a reranker has the last word; None: as was decided when it was fitted (reranked.py).
    rewrite   what a model writes to be searched for too, one of `REWRITES`; None: as was decided (rewriting.py).
    """

    where: Where = EVERYTHING
    fusion: str = "weighted"
    weight: float | None = None
    mmr: float | None = None
    distinct: bool = False
    spelling: bool = False
    rerank: bool | None = None
    rewrite: str | None = None

    def __post_init__(self) -> None:
        """Raises RequestError for what cannot be asked."""
        for name, asked, known in (("fusion", self.fusion, FUSIONS), ("rewrite", self.rewrite, (None, *REWRITES))):
            if asked not in known:
                remedy = f"Use one of {', '.join(filter(None, known))}."
                raise RequestError(f"there is no {name} {asked!r}", param=name, remedy=remedy)
        for name, value in (("weight", self.weight), ("mmr", self.mmr)):
            if value is not None and not 0 <= value <= 1:
                raise RequestError(f"`{name}` is {value}", param=name, remedy="It must be a number from 0 to 1.")

    @property
    def asks_a_model(self) -> bool:
        """Whether something is to be written for this search, whatever was decided."""
        return self.rewrite not in (None, NO_REWRITE)


AS_FITTED = Options()


class How(TypedDict, total=False):
    """groups: whose documents may be found beside everyone's; exclude: ids of documents to leave out; options."""

    groups: Collection[str]
    exclude: Collection[str]
    options: Options


@dataclass(frozen=True, slots=True)
class Correction:
    """A word that the reader's documents do not hold, and the one that was looked up instead."""

    asked: str
    searched: str

    def __str__(self) -> str:
        return f"searched for {self.searched!r} instead of {self.asked!r}"


@dataclass(frozen=True, slots=True)
class Findings:
    """The passages found, best first, and the signals."""

    results: tuple[Retrieved, ...]
    signals: Signals
    corrections: tuple[Correction, ...] = ()


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a chunk stands in one arm, from 1, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Candidates:
    """The union of what both arms found for one query, with scaled scores in [0, 1].

    chunks   (m,) found, in the order of documents; the other fields belong to them one by one; numbers: as given once.
    cosines  of those that the search by meaning found, bm25_scores of those that the search by words found, by place.
    words    the search by words that they were found with: what the reader may see.
    """

    chunks: tuple[Chunk, ...]
    dense: np.ndarray
    bm25: np.ndarray
    cosines: Mapping[int, float] = field(default_factory=dict)
    bm25_scores: Mapping[int, float] = field(default_factory=dict)
    words: BM25 | None = None
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    corrections: tuple[Correction, ...] = ()

    def ranked(self, arm: str, weight: float, k: int, fusion: str = "weighted") -> list[tuple[Chunk, float]]:
        """The first `k` chunks of one arm, best first, with their scores."""
        return [(self.chunks[place], score) for place, score in self.places(arm, weight, fusion)[:k]]

    def places(self, arm: str, weight: float, fusion: str = "weighted") -> list[tuple[int, float]]:
        """Places of all that one arm found, best first, with their scores."""
        if arm == "hybrid":
            found = self._by_rank() if fusion == "rrf" else weight * self.dense + (1.0 - weight) * self.bm25
            return _in_order(enumerate(found.tolist()))
        return _in_order((self.cosines if arm == "dense" else self.bm25_scores).items())

    def _by_rank(self) -> np.ndarray:
        """(m,) reciprocal ranks, summed over the arms."""
        held = (self.cosines, self.bm25_scores)
        scores = reciprocal_ranks([place for place, _ in _in_order(one.items())] for one in held)
        return np.array([scores.get(place, 0.0) for place in range(len(self.chunks))])

    def ranks(self, weight: float, fusion: str = "weighted") -> dict[str, dict[Chunk, Rank]]:
        """Of every arm the chunks it found, best first, each with its rank."""
        every = len(self.chunks)
        return {
            arm: {
                chunk: Rank(rank, score)
                for rank, (chunk, score) in enumerate(self.ranked(arm, weight, every, fusion), 1)
            }
            for arm in ARMS
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What one search found: the `results`, best first, out of the candidates.

    repeated   identical texts that were left out.
    first      the search that signals are read from, where these results are not its own; reranker: see `Signals`.
    others     candidates of what else was searched for, and `written`: those texts.
    """

    results: tuple[Retrieved, ...]
    candidates: Candidates
    repeated: int = 0
    first: Found | None = None
    reranker: float = 0.0
    others: tuple[Candidates, ...] = ()
    written: tuple[str, ...] = ()


def reciprocal_ranks(orders: Iterable[Iterable[T]]) -> dict[T, float]:
    """The sum of 1 / (60 + rank) over the orders in which something stands, best first."""
    scores: dict[T, float] = {}
    for order in orders:
        for rank, one in enumerate(order, 1):
            scores[one] = scores.get(one, 0.0) + 1.0 / (_RRF + rank)
    return scores


def _in_order(scores: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    return sorted(scores, key=lambda item: (-item[1], item[0]))
