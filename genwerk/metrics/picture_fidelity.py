"""How true a picture is to another: peak signal-to-noise ratio, and structural similarity.

Source: Wang et al. (2004), Image quality assessment: from error visibility to structural similarity, eqs. 13 to 17.

    PSNR = 10 log10( 255² / mean (x - y)² )                                       decibels
    SSIM = mean of  (2 m m' + c1) (2 s + c2) / ( (m² + m'² + c1) (v + v' + c2) )

m, m'       means of x and y around a pixel, weighted by a Gaussian of deviation 1.5 over 11 × 11 pixels
v, v', s    variances and covariance with the same weights;   c1 = (0.01 · 255)²,  c2 = (0.03 · 255)²

Chosen:   places whose window lies within the picture only, as in the authors' code; of colours the mean over
          channels.
Left out: more than one scale, luminance alone.
Try it:   pytest tests/metrics/test_picture_fidelity.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

__all__ = ["SMALLEST", "psnr", "ssim"]

SMALLEST = 11  # pixels of a side that SSIM can be measured of
_WHITE = 255.0
_C1, _C2 = (0.01 * _WHITE) ** 2, (0.03 * _WHITE) ** 2
_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
_WINDOW /= _WINDOW.sum()

Pictures = NDArray[np.uint8]  # (N, C, H, W)


def psnr(made: Pictures, real: Pictures) -> NDArray[np.float64]:
    """(N,) decibels; equal pictures have that of an error of one grey level in one of their numbers.

    Raises ValueError for pictures of different shapes.
    """
    _check(made, real)
    apart = np.asarray(made, np.float64) - real
    error = (apart**2).reshape(len(real), -1).mean(1)
    return np.asarray(10 * np.log10(_WHITE**2 / error.clip(min=1 / real[0].size)))


def ssim(made: Pictures, real: Pictures) -> NDArray[np.float64]:
    """(N,) from -1 to 1, equal pictures 1. Raises ValueError for different shapes, or sides below 11 pixels."""
    _check(made, real)
    if min(real.shape[-2:]) < SMALLEST:
        raise ValueError(f"SSIM needs sides of {SMALLEST} pixels, not {real.shape[-2]} × {real.shape[-1]}")
    return np.array(
        [_ssim(np.asarray(x, np.float64), np.asarray(y, np.float64)) for x, y in zip(made, real, strict=True)]
    )


def _ssim(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    mean_x, mean_y = _around(x), _around(y)
    spread_x, spread_y = _around(x * x) - mean_x**2, _around(y * y) - mean_y**2
    shared = _around(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) * (2 * shared + _C2)
    return float((likeness / ((mean_x**2 + mean_y**2 + _C1) * (spread_x + spread_y + _C2))).mean())


def _around(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means of (C, H, W) where the window lies within: (C, H - 10, W - 10)."""
    smooth = correlate1d(correlate1d(x, _WINDOW, axis=1), _WINDOW, axis=2)
    edge = len(_WINDOW) // 2
    return np.asarray(smooth[:, edge:-edge, edge:-edge])


def _check(made: Pictures, real: Pictures) -> None:
    if made.shape != real.shape or real.ndim != 4 or not real.size:
        raise ValueError(f"pictures of the shapes {made.shape} and {real.shape} cannot be compared")
