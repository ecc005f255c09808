"""Results that are not all the same: maximal marginal relevance, and identical texts once.

Source: Carbonell and Goldstein (1998), The use of MMR, diversity-based reranking for reordering documents.

    next = argmax over c not yet chosen of  λ · r(c) - (1 - λ) · max over chosen d of cos(c, d)

r(c)   the score of c, scaled so that the best of the list has 1 and the lowest 0
λ      1: the order of the search; 0: each as unlike those before it as can be

Chosen:   texts are identical when their characters are; the first one found stays, and how many went is told.
Left out: diversity by topic or by source.
Try it:   genwerk index search "…" --mmr 0.7 --distinct
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ["diverse_order", "first_of_each"]


def diverse_order(scores: Sequence[float] | np.ndarray, vectors: np.ndarray, trade: float, k: int) -> list[int]:
    """Places of the `k` chosen, in order, of candidates with scores (N,) and vectors (N, D) of length 1."""
    relevance = np.asarray(scores, dtype=np.float64)
    spread = np.ptp(relevance) if len(relevance) else 0.0
    relevance = (relevance - relevance.min()) / spread if spread > 0 else np.ones(len(relevance))
    nearest = np.zeros(len(relevance))
    chosen: list[int] = []
    left = np.ones(len(relevance), dtype=bool)
    while len(chosen) < min(k, len(relevance)):
        worth = np.where(left, trade * relevance - (1.0 - trade) * nearest, -np.inf)
        best = int(np.argmax(worth))
        likeness = (vectors * vectors[best]).sum(1).astype(np.float64)
        nearest = np.maximum(nearest, likeness) if chosen else likeness
        left[best] = False
        chosen.append(best)
    return chosen


def first_of_each(keys: Sequence[Hashable]) -> list[int]:
    """Places of those whose key did not come before, in order."""
    firsts: dict[Hashable, int] = {}
    for place, key in enumerate(keys):
        firsts.setdefault(key, place)
    return list(firsts.values())
