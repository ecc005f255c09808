"""Bootstrap of a ratio of sums: the interval of a pooled rate whose parts come in clusters (documents, answers).

Source: Davison and Hinkley (1997), Bootstrap Methods and their Application, section 2.4; Efron (1979).

    r = sum_i a_i / sum_i b_i        resample the clusters i, not what is inside them

a_i, b_i   numerator and denominator of cluster i: nats and bytes of a document, kept and written sentences of an answer

Chosen:   percentile interval; whole clusters are drawn, because the parts of one cluster resemble each other.
Left out: studentised intervals.
Try it:   python -c "from genwerk.metrics.ratio import ratio_interval; print(ratio_interval([1, 2, 0], [2, 2, 2]))"
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genwerk.metrics.bootstrap import Interval

__all__ = ["ratio_interval"]


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    n: int = 2000,
) -> Interval:
    """The pooled ratio and its interval over clusters; resamples whose denominators sum to zero are passed over.

    Raises ValueError for lists of different length, a negative denominator, or denominators that sum to zero.
    """
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if above.shape != below.shape or above.ndim != 1:
        raise ValueError("a ratio needs two flat lists of one length")
    if (below < 0).any() or below.sum() <= 0 or not (np.isfinite(above).all() and np.isfinite(below).all()):
        raise ValueError("a ratio needs finite numbers and denominators that are not negative and not all zero")
    picks = np.random.default_rng(seed).integers(0, len(below), size=(n, len(below)))  # (R, N)
    sums = below[picks].sum(axis=1)
    ratios = above[picks].sum(axis=1)[sums > 0] / sums[sums > 0]
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(above.sum() / below.sum()), float(low), float(high), len(below), confidence)
