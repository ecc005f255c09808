"""Is what is made new, or copied? Nearest neighbours among pictures that were learned from, and among others.

Source: Meehan, Chaudhuri and Dasgupta (2020), A non-parametric test to detect data-copying; the binomial test after
Clopper and Pearson (1934).

    share   of samples whose nearest learned picture is nearer than the nearest held-out one: 1/2 where none is copied
    p       probability of so many or more if it were 1/2

Both sets are of one size: the larger one is thinned. The two held against each other (real against learned) give 1/2 by
what they are: equal draws of one source.

Left out: cells of the space, within which the original test is done.
Try it:   pytest tests/metrics/test_novelty.py
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import binomtest

from genwerk.metrics.features import comparable

__all__ = ["Novelty", "novelty"]


@dataclass(frozen=True, slots=True)
class Novelty:
    """share: above 1/2, samples lie nearer to what was learned; low, high: its interval of 95 %; p: see above."""

    share: float
    low: float
    high: float
    p: float
    n: int

    @property
    def copies(self) -> bool:
        """Whether samples lie nearer to what was learned beyond chance, at one in a hundred."""
        return self.p < 0.01


def novelty(
    made: NDArray[np.floating], learned: NDArray[np.floating], held_out: NDArray[np.floating], *, seed: int = 0
) -> Novelty:
    """Of features (N, D), (M, D) and (K, D). Raises ValueError, see `comparable`."""
    size = min(len(learned), len(held_out))
    sets = [_thin(one, size, seed) for one in (learned, held_out)]
    nearest = [cdist(*comparable(made, one)).min(1) for one in sets]
    told = nearest[0] != nearest[1]
    closer = int((nearest[0] < nearest[1]).sum())
    n = int(told.sum())
    if n == 0:
        return Novelty(0.5, 0.0, 1.0, 1.0, 0)
    test = binomtest(closer, n, 0.5, alternative="greater")
    around = binomtest(closer, n).proportion_ci(0.95)
    return Novelty(closer / n, float(around.low), float(around.high), float(test.pvalue), n)


def _thin(x: NDArray[np.floating], size: int, seed: int) -> NDArray[np.floating]:
    if len(x) == size:
        return x
    return x[np.sort(np.random.default_rng(seed).permutation(len(x))[:size])]
