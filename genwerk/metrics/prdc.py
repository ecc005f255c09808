"""Precision, recall, density and coverage: is what is made like the real, and is all of the real made?

Source: Kynkäänniemi et al. (2019), Improved precision and recall; Naeem et al. (2020), Reliable fidelity and diversity
metrics, eqs. 3 to 6.

    B(x)        ball around x that reaches to its k-th nearest neighbour in x's own set
    precision   share of made y that lie in B(x) of any real x
    density     mean over made y of how many B(x) they lie in, divided by k; above 1 where they crowd
    recall      share of real x that lie in B(y) of any made y
    coverage    share of real x whose B(x) holds any made y

Chosen:   distances are Euclidean, in pieces of rows, so memory does not grow with the product of both sets.
Left out: probabilistic and topological variants.
Try it:   pytest tests/metrics/test_prdc.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from genwerk.metrics.features import Features, comparable

__all__ = ["PRDC", "Cases", "prdc", "prdc_cases"]

_ROWS = 512  # of distances at once


@dataclass(frozen=True, slots=True)
class PRDC:
    """See above; precision, recall and coverage from 0 to 1."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True, slots=True)
class Cases:
    """What each measure is the mean of, picture by picture: precise, dense (M,) of those made; recalled, covered (N,)
    of the real."""

    precise: NDArray[np.float64]
    dense: NDArray[np.float64]
    recalled: NDArray[np.float64]
    covered: NDArray[np.float64]


def prdc(real: NDArray[np.floating], made: NDArray[np.floating], *, k: int = 5) -> PRDC:
    """Of features (N, D) and (M, D). Raises ValueError for a k below 1, and see `comparable`."""
    found = prdc_cases(real, made, k=k)
    means = [float(one.mean()) for one in (found.precise, found.recalled, found.dense, found.covered)]
    return PRDC(*means)


def prdc_cases(real: NDArray[np.floating], made: NDArray[np.floating], *, k: int = 5) -> Cases:
    """The same, picture by picture, for an interval. Raises as `prdc`."""
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}: it counts neighbours")
    x, y = comparable(real, made, least=k + 1)
    reach_x, reach_y = _reach(x, k), _reach(y, k)
    held = np.zeros(len(y), np.int64)  # in how many B(x) each y lies
    recalled, covered = np.zeros(len(x)), np.zeros(len(x))
    for rows, apart in _distances(x, y):
        inside = apart < reach_x[rows, None]
        held += inside.sum(0)
        covered[rows] = inside.any(1)
        recalled[rows] = (apart < reach_y[None, :]).any(1)
    return Cases((held > 0).astype(np.float64), held / k, recalled, covered)


def _reach(x: Features, k: int) -> NDArray[np.float64]:
    """The distance of each to its k-th nearest other one."""
    return np.concatenate([np.partition(apart, k, axis=1)[:, k] for _, apart in _distances(x, x)])


def _distances(x: Features, y: Features) -> Iterator[tuple[slice, Features]]:
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        yield rows, cdist(x[rows], y)
