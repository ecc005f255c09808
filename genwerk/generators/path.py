"""Noise paths: how data turns into noise, and where a solver stops on its way back.

Source: Ho et al. (2020), Denoising diffusion probabilistic models; Nichol and Dhariwal (2021), Improved DDPM, eq. 17;
Karras et al. (2022), Elucidating the design space, eq. 5; Liu et al. (2022), Rectified flow; Lipman et al. (2022), Flow
matching; Esser et al. (2024), section 5.3.2, for `shift`.

    x_t = alpha(t) x_0 + sigma(t) eps,    eps ~ N(0, I)

              alpha(t)        sigma(t)            t
    VP        sqrt(abar_t)    sqrt(1 - abar_t)    0 … T, whole; abar_t = prod (1 - beta_s) over s = 1 … t, abar_0 = 1
    EDM       1               t                   0 … sigma_max
    Linear    1 - t           t                   0 … 1

t = 0 is data on every path. Between two times the probability flow is followed in a clock tau of the path's own, in
which it is straight where x_0 is known:

    x / scale = (1 + slope tau) x_0 + tau eps,   tau = sigma / scale,   d(x / scale) / d tau = slope x_0 + eps
    VP, EDM   slope = 0,  scale = alpha;      Linear   slope = -1,  scale = alpha + sigma

Left out: variance-exploding paths with other clocks than EDM's, learned schedules.
Try it:   pytest tests/generators/test_path.py
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from genwerk.core.errors import RequestError

__all__ = ["EDM", "VP", "Linear", "Path", "Point", "mix"]


class Point(NamedTuple):
    """A place on a path: how much is data and how much noise, and the path's clock there."""

    alpha: float
    sigma: float
    scale: float

    @property
    def clock(self) -> float:
        return self.sigma / self.scale

    @property
    def log_signal(self) -> float:
        """ln(alpha / sigma), half the log of the signal-to-noise ratio; infinite at data and at pure noise."""
        if self.sigma == 0.0 or self.alpha == 0.0:
            return math.inf if self.sigma == 0.0 else -math.inf
        return math.log(self.alpha / self.sigma)


class Path(Protocol):
    """slope: see above."""

    @property
    def slope(self) -> float: ...

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma, each shaped like `t`."""
        ...

    def at(self, t: float) -> Point:
        """The same for one time, in float64."""
        ...

    def times(self, steps: int) -> list[float]:
        """steps + 1 times from noise to 0. Raises RequestError for a number of steps that cannot be."""
        ...


def mix(path: Path, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t of data x0 and noise, both (B, …), at times t (B,)."""
    shape = (len(t), *[1] * (x0.ndim - 1))
    alpha, sigma = (level.to(x0.dtype).view(shape) for level in path.levels(t))
    return alpha * x0 + sigma * noise


@dataclass(frozen=True)
class VP:
    """betas     linear: from 0.0001 to 0.02, as DDPM; cosine: as improved DDPM
    length    T, whole steps of noise that there are
    spacing   which of them are taken: trailing begins at pure noise, leading ends one step before data
    """

    betas: Literal["linear", "cosine"] = "linear"
    length: int = 1000
    spacing: Literal["trailing", "leading"] = "trailing"

    slope = 0.0

    @cached_property
    def _abar(self) -> Tensor:  # (T + 1,) float64
        if self.betas == "linear":
            beta = torch.linspace(1e-4, 0.02, self.length, dtype=torch.float64)
        else:
            bent = torch.linspace(0, 1, self.length + 1, dtype=torch.float64).add(0.008).div(1.008)
            left = (bent * math.pi / 2).cos().square()
            beta = (1 - left[1:] / left[:-1]).clamp(max=0.999)
        return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        abar = self._abar.to(t.device)[t.long()]
        return abar.sqrt(), (1 - abar).sqrt()

    def at(self, t: float) -> Point:
        abar = float(self._abar[round(t)])
        return Point(math.sqrt(abar), math.sqrt(1 - abar), math.sqrt(abar))

    def times(self, steps: int) -> list[float]:
        _check_steps(steps, self.length)
        if self.spacing == "leading":
            stride = self.length // steps
            return [float(1 + stride * step) for step in reversed(range(steps))] + [0.0]
        return [float(round(self.length - step * self.length / steps)) for step in range(steps)] + [0.0]


@dataclass(frozen=True)
class EDM:
    """sigma_min, sigma_max   of the noise, where data have a deviation near 0.5
    rho                    how much denser times are near data
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    slope = 0.0

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), t

    def at(self, t: float) -> Point:
        return Point(1.0, t, 1.0)

    def times(self, steps: int) -> list[float]:
        _check_steps(steps)
        most, least = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        falling = [most + step / max(1, steps - 1) * (least - most) for step in range(steps)]
        return [root**self.rho for root in falling] + [0.0]


@dataclass(frozen=True)
class Linear:
    """shift   above 1, more of the times lie near noise: t' = s t / (1 + (s - 1) t)"""

    shift: float = 1.0

    slope = -1.0

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def at(self, t: float) -> Point:
        return Point(1.0 - t, t, 1.0)

    def times(self, steps: int) -> list[float]:
        _check_steps(steps)
        even = [1 - step / steps for step in range(steps + 1)]
        return [self.shift * t / (1 + (self.shift - 1) * t) for t in even]


def _check_steps(steps: int, most: int | None = None) -> None:
    if steps < 1 or (most is not None and steps > most):
        known = "1 or more" if most is None else f"from 1 to {most}"
        raise RequestError(f"{steps} steps cannot be taken", param="steps", remedy=f"Ask for {known}.")
