"""BM25: rows by the words they share with the question, rare words weighing more.

Source: Robertson and Zaragoza (2009), The probabilistic relevance framework: BM25 and beyond; the weight of a word as
in Lucene, which is never negative (Kamphuis et al., 2020, Which BM25 do you mean?).

    score(q, c) = sum over t in q of  ln(1 + (N - n_t + 0.5) / (n_t + 0.5)) · f_tc / (f_tc + k1 (1 - b + b |c| / avg))

N, avg   rows that the reader may see, and their mean length in terms
n_t      how many of them hold the term; f_tc how often this one does

Chosen:   N, avg and n_t are counted over what the reader may see, anew for each question, so that nothing found and no
          score tells of what is hidden; sums in float64 in the order of the question's words, so that a row has the
          same score in any company; all ties at the end of the list are returned.
Left out: scores computed beforehand; skipping (MaxScore, WAND), which saves less here than it costs in Python.
Try it:   python benchmarks/scale.py --chunks 10000
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genwerk.retrieval.native import load_kernels
from genwerk.retrieval.postings import Postings

__all__ = ["BM25", "Segments"]

K1, B = 1.2, 0.75
_BLOCK = 64


class Segments:
    """Postings of rows that follow each other, searched as one."""

    def __init__(self, parts: Sequence[Postings]) -> None:
        self.parts = tuple(parts)
        self._firsts = [0, *np.cumsum([len(part) for part in parts]).tolist()]

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n,) terms in each row, float64."""
        return np.concatenate([np.zeros(0), *(part.lengths for part in self.parts)])

    def find(self, term: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows (p,) that `term` stands in, in order, and how often."""
        found = [part.find(term) for part in self.parts]
        if len(found) == 1:
            return found[0]
        rows = [own.astype(np.int64) + first for (own, _), first in zip(found, self._firsts, strict=False)]
        nothing = np.zeros(0, dtype=np.int64)
        return np.concatenate([nothing, *rows]), np.concatenate([nothing, *(counts for _, counts in found)])


@dataclass(frozen=True, eq=False)
class BM25:
    """Over the rows that one kind of reader may see; `visible` (n,) bool, or None for all; `languages` of them."""

    segments: Segments
    visible: np.ndarray | None = None
    languages: tuple[str, ...] = ()
    k1: float = K1
    b: float = B

    @cached_property
    def n_rows(self) -> int:
        """Rows the reader may see."""
        return len(self.segments) if self.visible is None else int(self.visible.sum())

    @cached_property
    def _norms(self) -> np.ndarray:
        """(n,) k1 (1 - b + b |c| / avg)."""
        lengths = self.segments.lengths
        total = lengths.sum() if self.visible is None else lengths[self.visible].sum()
        mean = total / self.n_rows if self.n_rows else 0.0
        return self.k1 * (1.0 - self.b + self.b * lengths / (mean or 1.0))

    def count(self, term: str) -> int:
        """How many rows that the reader may see hold `term`."""
        return len(self._find(term)[0])

    def rows(self, term: str) -> np.ndarray:
        """Those of the rows that the reader may see (p,) which hold `term`, in order."""
        return self._find(term)[0]

    def top(self, terms: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The `k` best rows that hold any of `terms` and all that are as good as the last one, with their scores."""
        scores = np.zeros(len(self.segments))
        for term in dict.fromkeys(terms):
            rows, counts = self._find(term)
            if len(rows):
                _add(scores, rows, counts, self._norms, self._weight(len(rows)))
        return best_rows(scores, k)

    def _weight(self, holding: int) -> float:
        return math.log(1.0 + (self.n_rows - holding + 0.5) / (holding + 0.5))

    def _find(self, term: str) -> tuple[np.ndarray, np.ndarray]:
        rows, counts = self.segments.find(term)
        if self.visible is None or not len(rows):
            return rows, counts
        seen = self.visible[rows]
        return rows[seen], counts[seen]


def _add(scores: np.ndarray, rows: np.ndarray, counts: np.ndarray, norms: np.ndarray, weight: float) -> None:
    """Add what one term is worth to the scores of its rows."""
    if (kernels := load_kernels()) is None:
        often = counts.astype(np.float64)
        scores[rows] += weight * (often / (often + norms[rows]))
        return
    rows, counts = np.ascontiguousarray(rows, np.uint32), np.ascontiguousarray(counts, np.uint16)
    kernels.genwerk_words(
        rows.ctypes.data, counts.ctypes.data, len(rows), norms.ctypes.data, weight, scores.ctypes.data
    )


def best_rows(scores: np.ndarray, k: int, above: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows with the `k` highest scores above a bound, and with the same score as the last of them; unordered.

    The k-th highest of the maxima of blocks is no higher than the k-th highest score: few rows are left to sort.
    """
    whole = len(scores) - len(scores) % _BLOCK
    if whole > _BLOCK * k:
        tops = scores[:whole].reshape(-1, _BLOCK).max(1)
        least = np.partition(tops, len(tops) - k)[len(tops) - k]
        rows = np.flatnonzero(scores >= least) if least > above else np.flatnonzero(scores > above)
    else:
        rows = np.flatnonzero(scores > above)
    found = scores[rows]
    if len(rows) > k:
        last = np.partition(found, len(found) - k)[len(found) - k]
        kept = found >= last
        rows, found = rows[kept], found[kept]
    return rows, found
