"""How good a ranked list is: hit rate, reciprocal rank and normalised discounted cumulative gain.

Source: Järvelin and Kekäläinen (2002), Cumulated gain-based evaluation of IR techniques, with base-2 discount.

    DCG@k  = sum over ranks i = 1..k of g_i / log2(i + 1)
    nDCG@k = DCG@k / DCG@k of the best possible order

g_i   gain of the result at rank i: 1 or 0, or a grade

Chosen:   gains are given in the order of the results; what was not found is said by `ideal`, because a best order made
          only of what was found would flatter a list that misses half.
Left out: expected reciprocal rank, mean average precision.
Try it:   python -c "from genwerk.metrics.ranking import ndcg_at_k; print(ndcg_at_k([0, 1], 10, ideal=[1]))"
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["first_gain_only", "hit_at_k", "ndcg_at_k", "reciprocal_rank"]


def hit_at_k(gains: Sequence[float], k: int) -> float:
    """1.0 if any of the first `k` results has a gain above 0, else 0.0."""
    return float(any(gain > 0 for gain in gains[: _positive(k)]))


def reciprocal_rank(gains: Sequence[float]) -> float:
    """1 / rank of the first result with a gain above 0; 0.0 if there is none."""
    return next((1.0 / rank for rank, gain in enumerate(gains, 1) if gain > 0), 0.0)


def ndcg_at_k(gains: Sequence[float], k: int, *, ideal: Sequence[float] | None = None) -> float:
    """Normalised discounted cumulative gain of the first `k` results, in [0, 1].

    `ideal` holds the gains of everything relevant there is, in any order (`[1.0]` for one known item); without it the
    list is measured against its own best order. 0.0 if nothing is relevant.
    Raises ValueError for negative gains, or gains that `ideal` cannot contain.
    """
    best = _dcg(sorted(gains if ideal is None else ideal, reverse=True), k)
    reached = _dcg(gains, k)
    if reached > best + 1e-9:
        raise ValueError("the results gain more than `ideal` holds: count each relevant item once (first_gain_only)")
    return min(reached / best, 1.0) if best > 0 else 0.0


def first_gain_only(gains: Sequence[float]) -> list[float]:
    """Keep the first gain above 0: for one known item that several results may touch."""
    found = next((rank for rank, gain in enumerate(gains) if gain > 0), None)
    return [gain if rank == found else 0.0 for rank, gain in enumerate(gains)]


def _dcg(gains: Sequence[float], k: int) -> float:
    first = gains[: _positive(k)]
    if any(gain < 0 for gain in first):
        raise ValueError("gains must not be negative")
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(first, 1))


def _positive(k: int) -> int:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return k
