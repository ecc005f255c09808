"""PSNR in cases known on paper; SSIM as its equations give it window by window, and in the cases of its paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genwerk.metrics.picture_fidelity import psnr, ssim


def pictures(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def literal(x: np.ndarray, y: np.ndarray) -> float:
    """Eqs. 13 to 16 of Wang et al., window by window."""
    offset = np.arange(-5, 6)
    weights = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for channel in range(len(x)):
        for row in range(5, x.shape[1] - 5):
            for column in range(5, x.shape[2] - 5):
                a, b = (one[channel, row - 5 : row + 6, column - 5 : column + 6].astype(float) for one in (x, y))
                m, n = (weights * a).sum(), (weights * b).sum()
                v, w = (weights * (a - m) ** 2).sum(), (weights * (b - n) ** 2).sum()
                s, c1, c2 = (weights * (a - m) * (b - n)).sum(), 6.5025, 58.5225
                found.append((2 * m * n + c1) * (2 * s + c2) / ((m * m + n * n + c1) * (v + w + c2)))
    return float(np.mean(found))


def test_an_error_of_one_everywhere_is_48_decibels() -> None:
    real = np.full((2, 3, 8, 8), 100, np.uint8)
    assert psnr(real + 1, real) == pytest.approx([20 * math.log10(255)] * 2)
    assert psnr(np.full_like(real, 255), np.zeros_like(real)) == pytest.approx([0.0, 0.0])


def test_equal_pictures_have_a_finite_psnr() -> None:
    real = pictures(2, (1, 4, 4))
    once = real.copy()
    once[0, 0, 0, 0] ^= 1
    assert np.isfinite(psnr(real, real)).all() and psnr(real, real) == pytest.approx(psnr(once, real)[0])


def test_ssim_is_what_its_equations_give() -> None:
    real = pictures(2, (3, 13, 16))
    made = (0.6 * real + 0.4 * pictures(2, (3, 13, 16), seed=1)).astype(np.uint8)
    assert ssim(made, real) == pytest.approx([literal(x, y) for x, y in zip(made, real, strict=True)])


def test_ssim_is_one_of_equals_and_below_zero_of_opposites() -> None:
    real = pictures(3, (1, 20, 20))
    assert ssim(real, real) == pytest.approx(np.ones(3))
    assert (ssim(255 - real, real) < -0.5).all()


def test_ssim_of_a_lighter_constant_is_that_of_its_luminance() -> None:
    dark, light = np.full((1, 1, 11, 11), 100, np.uint8), np.full((1, 1, 11, 11), 150, np.uint8)
    wanted = (2 * 100 * 150 + 6.5025) / (100**2 + 150**2 + 6.5025)
    assert ssim(dark, light) == pytest.approx([wanted])


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(pictures(1, (1, 10, 20)), pictures(1, (1, 10, 20)))
    for measure in (psnr, ssim):
        with pytest.raises(ValueError, match="cannot be compared"):
            measure(pictures(1, (1, 12, 12)), pictures(1, (3, 12, 12)))
