"""Search with three arms: words (BM25), meaning (dense), and both (hybrid).

Sources: Robertson and Zaragoza (2009), The probabilistic relevance framework: BM25 and beyond, as in SQLite's FTS5;
Bruch, Gai and Ingber (2023), An analysis of fusion functions for hybrid retrieval, for the convex combination.

    hybrid(q, c) = w · max(cos(q, c), 0) / max cos  +  (1 - w) · bm25(q, c) / max bm25

max   over the candidates of this query: the first 100 of each arm
w     fitted on the collection (fusion.py)

Chosen:   scores are scaled by their own maximum with 0 as the lower end, which both measures have by theory; equal
          scores are ordered by place in the collection, so the same query always gives the same list.
Left out: rank fusion (it throws the scores away), rerankers, query rewriting.
Try it:   python benchmarks/index.py --chunks 200
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.types import Retrieved
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.index import Index
from genwerk.retrieval.store import damaged
from genwerk.retrieval.words import STOP_WORDS, stem, words_of

__all__ = ["ARMS", "Candidates", "Findings", "FusionChoice", "Searcher", "Signals", "fts_query"]

ARMS = ("bm25", "dense", "hybrid")
DEPTH = 100
_MAX_QUERY_WORDS = 64
_CACHED_QUERIES = 512


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
    """

    cosine: float = 0.0
    margin: float = 0.0
    bm25: float = 0.0
    lead: float = 0.0
    coverage: float = 0.0


@dataclass(frozen=True, slots=True)
class Findings:
    """The passages found, best first, and the signals."""

    results: tuple[Retrieved, ...]
    signals: Signals


@dataclass(frozen=True, slots=True)
class Candidates:
    """The union of what both arms found for one query, by chunk number, with scaled scores in [0, 1]."""

    numbers: np.ndarray
    dense: np.ndarray
    bm25: np.ndarray
    cosines: Mapping[int, float] = field(default_factory=dict)
    bm25_scores: Mapping[int, float] = field(default_factory=dict)

    def ranked(self, weight: float, k: int) -> list[tuple[int, float]]:
        """The first `k` (chunk number, score) of the convex combination."""
        scores = weight * self.dense + (1.0 - weight) * self.bm25
        order = np.lexsort((self.numbers, -scores))[:k]
        return [(int(self.numbers[place]), float(scores[place])) for place in order]


class Searcher:
    """Finds chunks. Any thread may use it. Raises WorkspaceError when the embedder is not the index's own."""

    def __init__(self, index: Index, embedder: TextEncoder, fusion: FusionChoice | None = None) -> None:
        if index.meta.get("embedder") != embedder.identity:
            raise WorkspaceError(
                "the index was made with another embedder, so its vectors cannot be compared",
                where=str(index.path),
                remedy="Run the recipe again, or give the embedder that the index names.",
            )
        self.index, self.embedder, self.fusion = index, embedder, fusion or FusionChoice()
        self._vector = lru_cache(maxsize=_CACHED_QUERIES)(lambda query: embedder.embed([query])[0])

    def search(
        self,
        query: str,
        k: int = 8,
        arm: str | None = None,
        *,
        groups: Collection[str] = (),
        exclude: Collection[str] = (),
    ) -> list[Retrieved]:
        """The first `k` chunks, best first. Without `arm` the one that the fit chose.

        groups   whose documents may be found beside everyone's; exclude: ids of documents to leave out.
        Raises RequestError for an unknown arm.
        """
        return list(self.look(query, k, arm, groups=groups, exclude=exclude).results)

    def look(
        self,
        query: str,
        k: int = 8,
        arm: str | None = None,
        *,
        groups: Collection[str] = (),
        exclude: Collection[str] = (),
    ) -> Findings:
        """`search` with the signals of the query."""
        arm = arm or self.fusion.arm
        if arm not in ARMS:
            raise RequestError(f"there is no arm {arm!r}", param="arm", remedy=f"Arms: {', '.join(ARMS)}.")
        found = self.candidates(query, groups=groups, exclude=exclude)
        ranked = self.rank(found, arm, k)
        results = tuple(Retrieved(self.index.chunks[number], score, arm) for number, score in ranked)
        return Findings(results, self._signals(query, found, results))

    def candidates(self, query: str, *, groups: Collection[str] = (), exclude: Collection[str] = ()) -> Candidates:
        """Both arms' first 100, joined."""
        query = query.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text
        if not query.strip():
            nothing = np.zeros(0)
            return Candidates(nothing.astype(np.int64), nothing, nothing)
        mask = self.index.visible(groups, exclude)
        words = self._bm25(query, mask)
        cosines = self.index.vectors @ self._vector(query)  # (N,)
        meaning = _top(cosines, mask, DEPTH)
        numbers = np.array(sorted({*words, *meaning.tolist()}), dtype=np.int64)
        dense = np.maximum(cosines[numbers], 0.0).astype(np.float64)
        bm25 = np.array([words.get(int(number), 0.0) for number in numbers])
        return Candidates(
            numbers, _scaled(dense), _scaled(bm25), {int(n): float(cosines[n]) for n in meaning}, words
        )  # fmt: skip

    def rank(self, found: Candidates, arm: str, k: int) -> list[tuple[int, float]]:
        if arm == "bm25":
            return sorted(found.bm25_scores.items(), key=lambda item: (-item[1], item[0]))[:k]
        if arm == "dense":
            return sorted(found.cosines.items(), key=lambda item: (-item[1], item[0]))[:k]
        return found.ranked(self.fusion.weight, k)

    def _bm25(self, query: str, mask: np.ndarray | None) -> dict[int, float]:
        """Scores of the first 100 visible chunks that hold any word of the query."""
        match = fts_query(query)
        if not match:
            return {}
        found: dict[int, float] = {}
        sql = "SELECT rowid, -rank FROM words WHERE words MATCH ? ORDER BY rank, rowid"
        sql += "" if mask is not None else f" LIMIT {DEPTH}"
        try:
            with self.index.connection() as connection:
                for number, score in connection.execute(sql, (match,)):
                    if mask is None or mask[number]:
                        found[number] = score
                    if len(found) == DEPTH:
                        break
        except sqlite3.DatabaseError as error:
            raise damaged(self.index.path, str(error)) from error
        return found

    def _signals(self, query: str, found: Candidates, results: tuple[Retrieved, ...]) -> Signals:
        if not len(found.numbers):
            return Signals()
        weights = self._word_weights(query)
        total = sum(weights.values())
        cosines = sorted(found.cosines.values(), reverse=True)[:10]
        words = sorted((*found.bm25_scores.values(), *[0.0] * 10), reverse=True)[:10]
        covered = 0.0
        for item in results[:3]:
            there = {stem(word.folded) for word in words_of(self.index.chunk_text(item.chunk))}
            covered = max(covered, sum(weight for word, weight in weights.items() if stem(word) in there))
        return Signals(
            cosine=cosines[0],
            margin=cosines[0] - float(np.mean(cosines)),
            bm25=words[0] / max(len(weights), 1),
            lead=words[0] - float(np.mean(words)),
            coverage=covered / total if total else 0.0,
        )

    def _word_weights(self, query: str) -> dict[str, float]:
        n = len(self.index.chunks)
        return {word: math.log((n + 1) / (self.index.chunks_with(word) + 0.5)) for word in query_words(query)}


def query_words(query: str) -> list[str]:
    """Distinct words to search, folded: without stop words if others are left.

    Of a text with more than 64 distinct words the 64 longest are searched, for long words are the rare ones.
    """
    words = list(dict.fromkeys(word.folded for word in words_of(query)))
    chosen = [word for word in words if word not in STOP_WORDS] or words
    if len(chosen) > _MAX_QUERY_WORDS:
        longest = set(sorted(chosen, key=lambda word: (-len(word), word))[:_MAX_QUERY_WORDS])
        chosen = [word for word in chosen if word in longest]
    return chosen


def fts_query(query: str) -> str:
    """An FTS5 expression that matches any word of `query`; empty when there is none. Safe for every input."""
    return " OR ".join(f'"{word}"' for word in query_words(query))


def _scaled(scores: np.ndarray) -> np.ndarray:
    top = scores.max(initial=0.0)
    return scores / top if top > 0 else np.zeros_like(scores)


def _top(scores: np.ndarray, mask: np.ndarray | None, k: int) -> np.ndarray:
    """Numbers of the `k` best visible chunks."""
    visible = np.arange(len(scores)) if mask is None else np.flatnonzero(mask)
    if len(visible) > k:
        kept = scores[visible]
        visible = visible[np.argpartition(-kept, k - 1)[:k]]
    return visible
