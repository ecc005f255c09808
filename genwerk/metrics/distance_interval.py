"""An interval for a distance of two sets: how far it could have come out otherwise with other samples.

Source: Efron (1979); Hall (1988) for what is done about the bias of resampled values.

    draw from both sets with replacement, take the distance d*; repeat; the interval is  d + quantiles of (d* - mean d*)

Drawing with replacement moves a distance of sets itself (doublets make a set narrower), so only the spread is used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from genwerk.metrics.bootstrap import Interval

__all__ = ["distance_interval"]

Distance = Callable[[NDArray[np.floating], NDArray[np.floating]], float]


def distance_interval(
    distance: Distance,
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    n: int = 40,
    paired: bool = False,
) -> Interval:
    """Of features (N, D) and (M, D); paired: row by row they belong together, and are drawn together.

    Raises ValueError as `distance` does, for an n below 2, and for pairs of which one is missing.
    """
    if n < 2:
        raise ValueError(f"an interval needs two resamples or more, not {n}")
    if paired and len(x) != len(y):
        raise ValueError(f"pairs need sets of one length, got {len(x)} and {len(y)}")
    value, draw = distance(x, y), np.random.default_rng(seed)
    again = []
    for _ in range(n):
        rows = draw.integers(0, len(x), len(x))
        again.append(distance(x[rows], y[rows if paired else draw.integers(0, len(y), len(y))]))
    spread = np.quantile(np.array(again) - np.mean(again), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(value + spread[0]), float(value + spread[1]), min(len(x), len(y)), confidence)
