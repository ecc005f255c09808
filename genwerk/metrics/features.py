"""Two sets of features that are to be compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Features", "comparable"]

Features = NDArray[np.float64]  # (N, D)


def comparable(x: NDArray[np.floating], y: NDArray[np.floating], *, least: int = 2) -> tuple[Features, Features]:
    """Both in float64. Raises ValueError for sets of fewer than `least`, of different widths or not finite."""
    sets = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if any(one.ndim != 2 for one in sets) or sets[0].shape[1] != sets[1].shape[1]:
        raise ValueError(f"features (N, D) and (M, D) are needed, not {sets[0].shape} and {sets[1].shape}")
    if any(len(one) < least for one in sets):
        raise ValueError(f"{least} features or more are needed in each set, not {len(sets[0])} and {len(sets[1])}")
    if not all(np.isfinite(one).all() for one in sets):
        raise ValueError("features must be finite: the network that made them is broken, or what it was given")
    return sets
