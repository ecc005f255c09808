"""Semantic chunking: cut where the meaning of neighbouring sentences lies furthest apart.

Sources: Kamradt (2024), 5 levels of text splitting, level 4, for breakpoints by percentile of embedding distances;
Hearst (1997), TextTiling, for cutting where neighbours are least alike.

    d_i = 1 - v_i · v_(i+1)          a chunk ends after sentence i if d_i > the p-th percentile of all d of the document

v_i   embedding of sentence i with the one before and the one after it, of length 1
p     `percentile`: 100 - p of a hundred sentences end a chunk before sizes are looked at

Chosen:   what is still too long is cut at its largest distance, again and again; what is shorter than `min_chars` is
          joined with the next piece. Sizes are kept as everywhere, so that chunkers can be compared.
Left out: thresholds by standard deviation or gradient; sentences moved to where they fit best.
Try it:   genwerk index build ./docs --chunker semantic
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from genwerk.core.types import Chunk, Document
from genwerk.retrieval.chunking import Limits, chunks_of, sentence_marks

__all__ = ["SemanticChunker"]

Embed = Callable[[Sequence[str]], np.ndarray]


class SemanticChunker:
    """Chunks of sentences that are about the same. `embed` maps texts to vectors (N, D) of length 1."""

    def __init__(self, limits: Limits, embed: Embed, percentile: float = 80.0) -> None:
        self._limits, self._embed, self._percentile = limits, embed, percentile

    def chunk(self, document: Document) -> list[Chunk]:
        """Chunks in order, tiling the text."""
        if not document.text:
            return []
        marks = sentence_marks(document.text)
        distances = self._distances(document.text, marks)
        cuts = [0, *self._cuts(marks, distances), len(document.text)]
        spans = self._limits.joined(cuts, self._limits.min_chars)
        return chunks_of(document, self._limits.fit(document.text, spans))

    def _distances(self, text: str, marks: Sequence[int]) -> np.ndarray:
        """(S - 1,) between neighbours of S sentences."""
        if len(marks) < 3:
            return np.zeros(0)
        last = len(marks) - 1
        around = [text[marks[max(0, place - 1)] : marks[min(last, place + 2)]] for place in range(last)]
        vectors = self._embed(around).astype(np.float64)
        return np.asarray(1.0 - (vectors[:-1] * vectors[1:]).sum(axis=1))

    def _cuts(self, marks: Sequence[int], distances: np.ndarray) -> list[int]:
        """Positions where a chunk starts; distance i lies at marks[i + 1]."""
        if not len(distances):
            return []
        far = np.flatnonzero(distances > np.percentile(distances, self._percentile))
        places = [0, *(int(place) + 1 for place in far), len(marks) - 1]
        open_runs = list(pairwise(places))
        cuts = set(places[1:-1])
        while open_runs:
            first, last = open_runs.pop()
            if last - first > 1 and marks[last] - marks[first] > self._limits.max_chars:
                cut = first + 1 + int(np.argmax(distances[first : last - 1]))
                cuts.add(cut)
                open_runs += [(first, cut), (cut, last)]
        return [marks[place] for place in sorted(cuts)]
