"""Search with three arms: words (BM25), meaning (dense), and both (hybrid).

Sources: Robertson and Zaragoza (2009), The probabilistic relevance framework: BM25 and beyond (bm25.py); Bruch, Gai
and Ingber (2023), An analysis of fusion functions for hybrid retrieval, for the convex combination.

    hybrid(q, c) = w · max(cos(q, c), 0) / max cos  +  (1 - w) · bm25(q, c) / max bm25

max   over the candidates of this query: the first 100 of each arm
w     fitted on the collection (fusion.py)

Chosen:   scores are scaled by their own maximum with 0 as the lower end, which both measures have by theory; equal
          scores are ordered by document and place in it, so that the same collection gives the same list, in whatever
          order and after whatever changes its documents came.
Left out: rank fusion (it throws the scores away), rerankers, query rewriting.
Try it:   python benchmarks/index.py --chunks 200
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.types import Chunk, Retrieved
from genwerk.retrieval.bm25 import BM25
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.index import Index
from genwerk.retrieval.terms import language_of, terms_of
from genwerk.retrieval.view import Chunks
from genwerk.retrieval.words import STOP_WORDS, words_of

__all__ = ["ARMS", "Candidates", "Findings", "FusionChoice", "Rank", "Searcher", "Signals"]

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
    reranker    log-odds of the best of the first passages by a reranker; 0 without one
    """

    cosine: float = 0.0
    margin: float = 0.0
    bm25: float = 0.0
    lead: float = 0.0
    coverage: float = 0.0
    reranker: float = 0.0


@dataclass(frozen=True, slots=True)
class Findings:
    """The passages found, best first, and the signals."""

    results: tuple[Retrieved, ...]
    signals: Signals


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a chunk stands in one arm, from 1, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Candidates:
    """The union of what both arms found for one query, with scaled scores in [0, 1].

    chunks   (m,) found, in the order of documents; the other fields belong to them one by one.
    cosines  of those that the search by meaning found, bm25_scores of those that the search by words found, by place.
    words    the search by words that they were found with: what the reader may see.
    """

    chunks: tuple[Chunk, ...]
    dense: np.ndarray
    bm25: np.ndarray
    cosines: Mapping[int, float] = field(default_factory=dict)
    bm25_scores: Mapping[int, float] = field(default_factory=dict)
    words: BM25 | None = None

    def ranked(self, arm: str, weight: float, k: int) -> list[tuple[Chunk, float]]:
        """The first `k` chunks of one arm, best first, with their scores."""
        if arm == "hybrid":
            scores = weight * self.dense + (1.0 - weight) * self.bm25
            found = list(enumerate(scores.tolist()))
        else:
            found = list((self.cosines if arm == "dense" else self.bm25_scores).items())
        found.sort(key=lambda item: (-item[1], item[0]))
        return [(self.chunks[place], score) for place, score in found[:k]]

    def ranks(self, weight: float) -> dict[str, dict[Chunk, Rank]]:
        """Of every arm the chunks it found, best first, each with its rank."""
        every = len(self.chunks)
        return {
            arm: {chunk: Rank(rank, score) for rank, (chunk, score) in enumerate(self.ranked(arm, weight, every), 1)}
            for arm in ARMS
        }


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
        return list(self._found(query, k, arm, groups, exclude)[1])

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
        found, results = self._found(query, k, arm, groups, exclude)
        return Findings(results, self._signals(query, found, results))

    def _found(
        self, query: str, k: int, arm: str | None, groups: Collection[str], exclude: Collection[str]
    ) -> tuple[Candidates, tuple[Retrieved, ...]]:
        arm = arm or self.fusion.arm
        if arm not in ARMS:
            raise RequestError(f"there is no arm {arm!r}", param="arm", remedy=f"Arms: {', '.join(ARMS)}.")
        found = self.candidates(query, groups=groups, exclude=exclude)
        return found, tuple(Retrieved(chunk, score, arm) for chunk, score in self.rank(found, arm, k))

    def candidates(self, query: str, *, groups: Collection[str] = (), exclude: Collection[str] = ()) -> Candidates:
        """Both arms' first 100, joined."""
        query = query.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text
        view = self.index.view
        words = view.words(groups, exclude)
        if not query.strip() or not len(view.chunks):
            return Candidates((), np.zeros(0), np.zeros(0), words=words)
        terms = [term for word in query_words(query) for term in self.index.forms(word)]
        by_words = _first(view.chunks, *words.top(terms, DEPTH))
        vector = self._vector(query)
        by_meaning = _first(view.chunks, *view.scan.top(vector, DEPTH, words.visible))
        chunks = {row: view.chunks[row] for row in {*by_words, *by_meaning}}
        rows = sorted(chunks, key=lambda row: chunks[row])
        dense = np.maximum(view.scan.cosines(vector, np.array(rows, dtype=np.int64)), 0.0).astype(np.float64)
        bm25 = np.array([by_words.get(row, 0.0) for row in rows])
        places = {row: place for place, row in enumerate(rows)}
        return Candidates(
            tuple(chunks[row] for row in rows), _scaled(dense), _scaled(bm25),
            {places[row]: score for row, score in by_meaning.items()},
            {places[row]: score for row, score in by_words.items()}, words,
        )  # fmt: skip

    def rank(self, found: Candidates, arm: str, k: int) -> list[tuple[Chunk, float]]:
        """The first `k` of an arm, the hybrid one at the weight that was fitted."""
        return found.ranked(arm, self.fusion.weight, k)

    def _signals(self, query: str, found: Candidates, results: tuple[Retrieved, ...]) -> Signals:
        if not found.chunks or found.words is None:
            return Signals()
        weights = self._word_weights(query, found.words)
        total = sum(weights.values())
        cosines = sorted(found.cosines.values(), reverse=True)[:10]
        words = sorted((*found.bm25_scores.values(), *[0.0] * 10), reverse=True)[:10]
        covered = 0.0
        for item in results[:3]:
            document = self.index.document(item.chunk.document_id)
            there = set(terms_of(document.text[item.chunk.start : item.chunk.end], language_of(document.metadata)))
            held = (weight for forms, weight in weights.items() if not there.isdisjoint(forms))
            covered = max(covered, sum(held))
        return Signals(
            cosine=cosines[0],
            margin=cosines[0] - float(np.mean(cosines)),
            bm25=words[0] / max(len(weights), 1),
            lead=words[0] - float(np.mean(words)),
            coverage=covered / total if total else 0.0,
        )

    def _word_weights(self, query: str, words: BM25) -> dict[tuple[str, ...], float]:
        """How rare each word of the query is among what the reader may see, by the forms it is looked up in."""
        forms = dict.fromkeys(self.index.forms(word) for word in query_words(query))
        holding = {form: max((words.count(term) for term in form), default=0) for form in forms}
        return {form: math.log((words.n_rows + 1) / (count + 0.5)) for form, count in holding.items()}


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


def _scaled(scores: np.ndarray) -> np.ndarray:
    top = scores.max(initial=0.0)
    return scores / top if top > 0 else np.zeros_like(scores)


def _first(chunks: Chunks, rows: np.ndarray, scores: np.ndarray) -> dict[int, float]:
    """Scores of the first 100 rows; where the last ones are as good as each other, documents decide."""
    found = dict(zip(rows.tolist(), scores.tolist(), strict=True))
    if len(found) <= DEPTH:
        return found
    best = sorted(found, key=lambda row: (-found[row], chunks[row]))
    return {row: found[row] for row in best[:DEPTH]}
