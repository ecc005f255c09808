"""Kernel distance of two sets of features: the squared maximum mean discrepancy with a cubic kernel.

Source: Bińkowski et al. (2018), Demystifying MMD GANs, section 4, there named KID; Gretton et al. (2012), eq. 3.

    k(x, y) = (x · y / D + 1)³
    d² = mean k(x, x') over pairs x ≠ x'  +  mean k(y, y') over pairs y ≠ y'  -  2 mean k(x, y)

Chosen:   the unbiased estimate over all pairs, which may fall below 0 where both sets are alike.
Left out: means over random subsets, which only save memory.
Try it:   pytest tests/metrics/test_kernel_distance.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genwerk.metrics.features import Features, comparable

__all__ = ["kernel_distance"]


def kernel_distance(features: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """d² of features (N, D) and (M, D). Raises ValueError, see `comparable`."""
    x, y = comparable(features, others)
    return _among(x) + _among(y) - 2 * float(_kernel(x, y).mean())


def _kernel(x: Features, y: Features) -> Features:
    return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)


def _among(x: Features) -> float:
    """Over all pairs of two different ones."""
    own = (np.einsum("nd,nd->n", x, x) / x.shape[1] + 1) ** 3
    return float(_kernel(x, x).sum() - own.sum()) / (len(x) * (len(x) - 1))
