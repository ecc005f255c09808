"""Fréchet distance: how far two sets of features are apart, each taken for a Gaussian.

Source: Heusel et al. (2017), GANs trained by a two time-scale update rule, eq. 6; Dowson and Landau (1982).

    d² = |m - m'|² + tr(C + C' - 2 (C C')^(1/2)),      tr (C C')^(1/2) = sum sqrt eigenvalues of C^(1/2) C' C^(1/2)

m, C   mean and covariance of the features of each set

Chosen:   the symmetric form, whose eigenvalues are real; what rounding leaves below 0 counts as 0. "FID" is this with
          features of Inception v3 only, which is not to be had here, so it is never called that.
Left out: the extrapolation to infinitely many samples: sets of equal size are compared, beside a floor of real ones.
Try it:   pytest tests/metrics/test_frechet.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genwerk.metrics.features import comparable

__all__ = ["frechet_distance"]


def frechet_distance(features: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """d² of features (N, D) and (M, D). Raises ValueError, see `comparable`."""
    sets = comparable(features, others)
    means = [one.mean(0) for one in sets]
    spreads = [np.atleast_2d(np.cov(one, rowvar=False)) for one in sets]
    values, vectors = np.linalg.eigh(spreads[0])
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    shared = np.linalg.eigvalsh(root @ spreads[1] @ root).clip(min=0)
    apart = float(((means[0] - means[1]) ** 2).sum())
    return max(0.0, apart + float(np.trace(spreads[0]) + np.trace(spreads[1]) - 2 * np.sqrt(shared).sum()))
