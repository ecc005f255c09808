"""Search with three arms: words (BM25), meaning (dense), and both (hybrid).

Sources: Robertson and Zaragoza (2009), The probabilistic relevance framework: BM25 and beyond (bm25.py); Bruch, Gai
and Ingber (2023), An analysis of fusion functions for hybrid retrieval, for the convex combination; Cormack, Clarke and
Büttcher (2009), Reciprocal rank fusion outperforms Condorcet and individual rank learning methods.

    weighted(q, c) = w · max(cos(q, c), 0) / max cos  +  (1 - w) · bm25(q, c) / max bm25
    rrf(q, c)      = sum over the arms that found c of  1 / (60 + rank)

max   over the candidates of this query: the first 100 of each arm
w     fitted on the collection (fusion.py)

Chosen:   scores are scaled by their own maximum with 0 as the lower end, which both measures have by theory; equal
          scores are ordered by document and place in it, so that the same collection gives the same list, in whatever
          order and after whatever changes its documents came. The weighted fusion serves; the other one, which throws
          the scores away, is there for the asking. A word that is looked up as another one (spelling.py) is so in the
          search by words only: meaning is that of the question as it was asked.
Left out: rerankers (reranked.py), query rewriting (rewriting.py).
Try it:   python benchmarks/index.py --chunks 200
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, Self, Unpack

import numpy as np

from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.types import ARMS, Chunk, Retrieved
from genwerk.retrieval.bm25 import BM25
from genwerk.retrieval.diversity import diverse_order, first_of_each
from genwerk.retrieval.embedding import Embedder, TextEncoder
from genwerk.retrieval.findings import (
    AS_FITTED,
    FUSIONS,
    NO_REWRITE,
    REWRITES,
    Candidates,
    Correction,
    Findings,
    Found,
    FusionChoice,
    How,
    Options,
    Rank,
    Signals,
)
from genwerk.retrieval.index import Index
from genwerk.retrieval.spelling import mistakes, nearest
from genwerk.retrieval.terms import forms_of, language_of, terms_of
from genwerk.retrieval.view import Chunks, View
from genwerk.retrieval.words import STOP_WORDS, words_of

__all__ = [
    "AS_FITTED", "DEPTH", "FUSIONS", "LONGEST_QUERY", "NO_REWRITE", "REWRITES", "Candidates", "Correction",
    "Findings", "Found", "FusionChoice", "How", "Options", "Rank", "Search", "Searcher", "Signals", "check_query",
    "signals_of",
]  # fmt: skip

LONGEST_QUERY = 20_000  # characters of what people and programs ask; a search by itself takes any
DEPTH = 100
_READ = 8  # passages in which the spelling of a term is looked for
_MAX_QUERY_WORDS = 64
_CACHED_QUERIES = 512


class Search(Protocol):
    """What finds passages: a `Searcher`, or one with a second stage (reranked.py). Any thread may use it."""

    index: Index
    embedder: TextEncoder
    fusion: FusionChoice

    def find(self, query: str, k: int = 8, arm: str | None = None, **how: Unpack[How]) -> Found:
        """The first `k` chunks, best first, and what they were chosen from. Without `arm` the one that the fit chose.

        Raises RequestError for an unknown arm, and for a filter by what no document has.
        """
        ...

    def as_decided(self, options: Options = AS_FITTED) -> Options:
        """`options` with what was decided where they leave it open; `rerank` stays None where nothing reranks."""
        return replace(options, rerank=None, rewrite=NO_REWRITE)

    def search(self, query: str, k: int = 8, arm: str | None = None, **how: Unpack[How]) -> list[Retrieved]:
        """The chunks that `find` finds."""
        return list(self.find(query, k, arm, **how).results)

    def look(self, query: str, k: int = 8, arm: str | None = None, **how: Unpack[How]) -> Findings:
        """The chunks that `find` finds, with the signals of the query."""
        found = self.find(query, k, arm, **how)
        return Findings(found.results, signals_of(self.index, query, found), found.candidates.corrections)

    def arranged(self, results: Sequence[Retrieved], found: Found, options: Options, k: int) -> Found:
        """`found` with the first `k` of some of its candidates: identical texts and likeness as `options` say."""
        kept = list(results)
        if options.distinct:
            kept = [results[place] for place in first_of_each(self.index.digests(_numbers(results, found)))]
        repeated = found.repeated + len(results) - len(kept)
        if options.mmr is not None and kept:
            vectors = self.index.vectors(_numbers(kept, found))
            kept = [kept[place] for place in diverse_order([item.score for item in kept], vectors, options.mmr, k)]
        return replace(found, results=tuple(kept[:k]), repeated=repeated)


class Searcher(Search):
    """Finds chunks; `close` closes the index. Any thread may use it.

    Raises WorkspaceError when the embedder is not the index's own.
    """

    def __init__(self, index: Index, embedder: TextEncoder, fusion: FusionChoice | None = None) -> None:
        if index.meta.get("embedder") != embedder.identity:
            raise WorkspaceError(
                "the index was made with another embedder, so its vectors cannot be compared",
                where=index.where,
                remedy="Run the recipe again, give the embedder that the index names, or build the index anew.",
            )
        self.index, self.embedder, self.fusion = index, embedder, fusion or FusionChoice()
        self._vector = lru_cache(maxsize=_CACHED_QUERIES)(lambda query: embedder.embed([query])[0])

    @classmethod
    def open(cls, index: Path, embedder: Path, fusion: FusionChoice | None = None) -> Self:
        """Over an index and its embedder, each in its folder. Raises WorkspaceError and ModelError as they do."""
        return cls(Index.open(index), Embedder.load(embedder), fusion)

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    def find(
        self, query: str, k: int = 8, arm: str | None = None, *, meaning: str | None = None, **how: Unpack[How]
    ) -> Found:
        """See `Search`. `meaning`: a text whose vector is halved with the question's."""
        options = how.get("options", AS_FITTED)
        if options.rerank:
            remedy = "Train one: `genwerk index train-reranker`; or ask without it."
            raise RequestError("there is no reranker for this index", param="rerank", remedy=remedy)
        if options.asks_a_model:
            raise RequestError("there is no model that rewrites", param="rewrite", remedy="Name one, or ask without.")
        arm = arm or self.fusion.arm
        if arm not in ARMS:
            raise RequestError(f"there is no arm {arm!r}", param="arm", remedy=f"Arms: {', '.join(ARMS)}.")
        found = self.candidates(query, meaning=meaning, **how)
        weight = self.fusion.weight if options.weight is None else options.weight
        every = [Retrieved(found.chunks[place], score, arm)
                 for place, score in found.places(arm, weight, options.fusion)]  # fmt: skip
        return self.arranged(every, Found((), found), options, k)

    def candidates(self, query: str, *, meaning: str | None = None, **how: Unpack[How]) -> Candidates:
        """Both arms' first 100, joined."""
        options = how.get("options", AS_FITTED)
        query = query.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text
        view = self.index.view
        words = view.words(how.get("groups", ()), how.get("exclude", ()), options.where)
        if not query.strip() or not words.n_rows:
            return Candidates((), np.zeros(0), np.zeros(0), words=words)
        terms = {word: forms_of(word, words.languages) for word in query_words(query)}
        corrections = self._corrections(terms, words, view) if options.spelling else {}
        terms |= {word: (term,) for word, (term, _) in corrections.items()}
        by_words = _first(view.chunks, *words.top([term for forms in terms.values() for term in forms], DEPTH))
        vector = self._vector(query) if meaning is None else _middle(self._vector(query), self._vector(meaning))
        by_meaning = _first(view.chunks, *view.scan.top(vector, DEPTH, words.visible))
        chunks = {row: view.chunks[row] for row in {*by_words, *by_meaning}}
        rows = sorted(chunks, key=lambda row: chunks[row])
        others = [row for row in rows if row not in by_meaning]
        near = by_meaning | dict(zip(others, view.scan.cosines(vector, np.array(others, dtype=np.int64)), strict=True))
        dense = np.maximum([float(near[row]) for row in rows], 0.0)
        bm25 = np.array([by_words.get(row, 0.0) for row in rows])
        places = {row: place for place, row in enumerate(rows)}
        return Candidates(
            tuple(chunks[row] for row in rows), _scaled(dense), _scaled(bm25),
            {places[row]: score for row, score in by_meaning.items()},
            {places[row]: score for row, score in by_words.items()}, words, view.rows.numbers[rows],
            tuple(correction for _, correction in corrections.values()),
        )  # fmt: skip

    def _corrections(
        self, terms: Mapping[str, tuple[str, ...]], words: BM25, view: View
    ) -> dict[str, tuple[str, Correction]]:
        """For words of which nothing is held: the term that is looked up instead, and how it is told."""
        found: dict[str, tuple[str, Correction]] = {}
        for word, forms in terms.items():
            if any(words.count(form) for form in forms):
                continue
            near = [best for form in forms if (best := nearest(word, form, view.vocabularies, words.count))]
            if near:
                term = min(near, key=lambda best: best[1])[0]
                found[word] = term, Correction(word, self._spelled(word, term, words, view))
        return found

    def _spelled(self, word: str, term: str, words: BM25, view: View) -> str:
        """A word of the reader's documents that stands for the term, the one most like `word`."""
        seen: Counter[str] = Counter()
        for row in words.rows(term)[:_READ].tolist():
            text = self.index.chunk_text(view.chunks[row])
            seen.update(one.folded for one in words_of(text) if term in forms_of(one.folded, words.languages))
        if not seen:
            return term
        held = sorted(seen, key=lambda one: (-seen[one], one))
        return held[int(np.argmin(mistakes(word, np.array(held), len(word))))]

    def rank(self, found: Candidates, arm: str, k: int) -> list[tuple[Chunk, float]]:
        """The first `k` of an arm, the hybrid one at the weight that was fitted."""
        return found.ranked(arm, self.fusion.weight, k)


def signals_of(index: Index, query: str, found: Found) -> Signals:
    """What a search says about whether its answer is there. Words count as they were asked: a guess is no sign."""
    searched = found.first or found
    held, words = searched.candidates, searched.candidates.words
    if not held.chunks or words is None:
        return Signals(reranker=found.reranker)
    weights = _word_weights(query, words)
    total = sum(weights.values())
    cosines = sorted(held.cosines.values(), reverse=True)[:10]
    scores = sorted((*held.bm25_scores.values(), *[0.0] * 10), reverse=True)[:10]
    covered = 0.0
    for item in searched.results[:3]:
        language = language_of(index.document(item.chunk.document_id).metadata)
        there = set(terms_of(index.chunk_text(item.chunk), language))
        covered = max(covered, sum(weight for forms, weight in weights.items() if not there.isdisjoint(forms)))
    return Signals(
        cosine=cosines[0],
        margin=cosines[0] - float(np.mean(cosines)),
        bm25=scores[0] / max(len(weights), 1),
        lead=scores[0] - float(np.mean(scores)),
        coverage=covered / total if total else 0.0,
        reranker=found.reranker,
    )


def _word_weights(query: str, words: BM25) -> dict[tuple[str, ...], float]:
    """How rare each word of the query is among what the reader may see, by the forms it is looked up in."""
    forms = dict.fromkeys(forms_of(word, words.languages) for word in query_words(query))
    holding = {form: max((words.count(term) for term in form), default=0) for form in forms}
    return {form: math.log((words.n_rows + 1) / (count + 0.5)) for form, count in holding.items()}


def check_query(query: str) -> str:
    """The query, where it is one. Raises RequestError for an empty one, and for one of more than 20,000 characters."""
    if not query.strip():
        raise RequestError("`query`: it is empty", param="query", code="invalid_value", remedy="Ask for something.")
    if len(query) > LONGEST_QUERY:
        what, remedy = f"`query`: it has {len(query):,} characters", f"Send at most {LONGEST_QUERY:,}."
        raise RequestError(what, param="query", code="invalid_value", remedy=remedy)
    return query


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


def _middle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The vector (D,) of length 1 half-way between two."""
    both = one + other
    return np.asarray(both / max(float(np.linalg.norm(both)), 1e-12), dtype=np.float32)


def _numbers(results: Sequence[Retrieved], found: Found) -> np.ndarray:
    """(m,) numbers of the chunks of some results."""
    known: dict[Chunk, int] = {}
    for one in (found.candidates, *found.others):
        known.update(zip(one.chunks, one.numbers.tolist(), strict=True))
    return np.array([known[item.chunk] for item in results], dtype=np.int64)


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
