"""Solvers: from noise to data along a path, given what a network makes of each state.

Source: Song et al. (2020), Denoising diffusion implicit models, eqs. 12 and 16; Karras et al. (2022), algorithm 1; Lu
et al. (2022), DPM-Solver++, algorithm 2.

    eps = (x_t - alpha_t x0) / sigma_t          x0 the network's estimate of the data behind x_t

    euler       x_s = alpha_s x0 + sigma_s eps
    ancestral   x_s = alpha_s x0 + sqrt(sigma_s² - n²) eps + n z
                n = eta sigma_s sqrt(1 - (alpha_t sigma_s / alpha_s sigma_t)²)
    heun        a step of euler, and again with the mean of the slopes at both its ends, in the path's clock
    dpm_solver  x_s = r x_t + (alpha_s - r alpha_t) (x0 + (x0 - x0') h / (2 h')),    r = sigma_s / sigma_t

h       lambda_s - lambda_t,  lambda = ln(alpha / sigma);   x0', h' of the step before
z, eta  z ~ N(0, I);  eta 1 is DDPM's sampling, 0 is DDIM's

On every path a step of Euler in its clock is one of DDIM, so there is one function for both. Each solver is an iterator
over states, whose last one is the sample. The error falls with the number of steps to the first power (euler), to the
second (heun, with two estimates a step; dpm_solver, with one). Times that rise lead from data to noise (inversion.py);
at data itself x_0 is x, and eps, of which nothing can be seen there, is 0, its mean.

Left out: third orders, adaptive steps.
Try it:   pytest tests/generators/test_solve.py
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from genwerk.generators.path import Path, Point

__all__ = ["Denoiser", "Frame", "Solver", "ancestral", "dpm_solver", "euler", "heun"]

Denoiser = Callable[[Tensor, float], Tensor]
"""x_t (B, …) and t to the estimate of x_0 (B, …)."""


class Frame(NamedTuple):
    """A state on the way, the estimate of the data that led to it, and its time."""

    x: Tensor
    x0: Tensor
    time: float


Solver = Callable[[Denoiser, Path, Tensor, Sequence[float]], Iterator[Frame]]
"""From x at the first of the times, which fall or rise, a frame for each of the others."""


def euler(denoise: Denoiser, path: Path, x: Tensor, times: Sequence[float]) -> Iterator[Frame]:
    """First order, one estimate a step; on a VP path it is DDIM."""
    for t, s in pairwise(times):
        x0 = denoise(x, t)
        there = path.at(s)
        x = there.alpha * x0 + there.sigma * _noise(x, x0, path.at(t))
        yield Frame(x, x0, s)


def ancestral(
    denoise: Denoiser, path: Path, x: Tensor, times: Sequence[float], *, draw: Callable[[], Tensor], eta: float = 1.0
) -> Iterator[Frame]:
    """As euler, with a share of the noise drawn anew in each step. draw: z, shaped like `x`."""
    for t, s in pairwise(times):
        x0, here, there = denoise(x, t), path.at(t), path.at(s)
        noise = _noise(x, x0, here)
        fresh = 0.0
        if there.sigma > 0.0:
            left = here.alpha * there.sigma / (there.alpha * here.sigma)
            fresh = eta * there.sigma * math.sqrt(max(0.0, 1.0 - left * left))
        x = there.alpha * x0 + math.sqrt(max(0.0, there.sigma**2 - fresh**2)) * noise
        if fresh > 0.0:
            x = x + fresh * draw()
        yield Frame(x, x0, s)


def heun(denoise: Denoiser, path: Path, x: Tensor, times: Sequence[float]) -> Iterator[Frame]:
    """Second order, two estimates a step; the step to data itself is one of euler, as there is no noise to look at."""
    for t, s in pairwise(times):
        here, there = path.at(t), path.at(s)
        x0 = denoise(x, t)
        first = _slope(path, x, x0, here)
        ahead = there.clock - here.clock
        moved = there.scale * (x / here.scale + ahead * first)
        if there.sigma > 0.0:
            second = _slope(path, moved, denoise(moved, s), there)
            moved = there.scale * (x / here.scale + ahead * (first + second) / 2)
        x = moved
        yield Frame(x, x0, s)


def dpm_solver(denoise: Denoiser, path: Path, x: Tensor, times: Sequence[float]) -> Iterator[Frame]:
    """DPM-Solver++(2M): second order, one estimate a step; the first step and the one to data are of first order."""
    before: tuple[Tensor, float] | None = None  # x0 and h of the last step
    for t, s in pairwise(times):
        here, there = path.at(t), path.at(s)
        x0, h = denoise(x, t), there.log_signal - here.log_signal
        bent = x0
        if before is not None and math.isfinite(h):
            bent = x0 + (x0 - before[0]) * (h / (2.0 * before[1]))
        rest = there.sigma / here.sigma if here.sigma > 0.0 else 0.0
        x = rest * x + (there.alpha - rest * here.alpha) * bent
        before = x0, h
        yield Frame(x, x0, s)


def _noise(x: Tensor, x0: Tensor, here: Point) -> Tensor:
    return (x - here.alpha * x0) / here.sigma if here.sigma > 0.0 else torch.zeros_like(x)


def _slope(path: Path, x: Tensor, x0: Tensor, here: Point) -> Tensor:
    """d(x / scale) / d clock."""
    return path.slope * x0 + _noise(x, x0, here)
