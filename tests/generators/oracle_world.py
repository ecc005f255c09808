"""Data whose network is known: Gaussian in each place, so that estimates, flow and samples have closed forms."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from genwerk.generators.path import Path


@dataclass(frozen=True)
class GaussianWorld:
    """x_0 ~ N(mean, deviation²) in every place, independent of each other."""

    path: Path
    mean: float = 0.3
    deviation: float = 0.5

    def denoise(self, x: Tensor, t: float) -> Tensor:
        """E[x_0 | x_t]."""
        alpha, sigma, _ = self.path.at(t)
        variance = (alpha * self.deviation) ** 2 + sigma**2
        return self.mean + alpha * self.deviation**2 / variance * (x - alpha * self.mean)

    def flow(self, x: Tensor, t: float, s: float) -> Tensor:
        """Where the probability flow carries x_t: every quantile stays one."""
        here, there = self.path.at(t), self.path.at(s)
        return there.alpha * self.mean + (x - here.alpha * self.mean) * (self._spread(s) / self._spread(t))

    def _spread(self, t: float) -> float:
        alpha, sigma, _ = self.path.at(t)
        return float(((alpha * self.deviation) ** 2 + sigma**2) ** 0.5)
