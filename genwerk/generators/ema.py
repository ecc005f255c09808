"""Averages of weights over training, of which the length can be chosen when training is over.

Source: Karras et al. (2024), Analyzing and improving the training dynamics of diffusion models, section 3 and
algorithms 2 and 3.

    mean_t = b_t mean_{t-1} + (1 - b_t) weights_t,    b_t = (1 - 1/t)^(gamma + 1)
           = (gamma + 1) / t^(gamma + 1)  integral of tau^gamma weights(tau) dtau from 0 to t
    width  = sqrt((gamma + 1) / ((gamma + 2)² (gamma + 3)))       deviation of that profile, as a share of t

t     step from 1;  gamma: how soon the past is forgotten;  width 0.05 and 0.10 are followed

Two averages are followed and now and then kept. An average of any width between is then nearly a weighted sum of what
was kept: the weights that bring its profile closest in least squares, from the products of all profiles,

    <p_a, p_b> = (gamma_a + 1)(gamma_b + 1) / (gamma_a + gamma_b + 1) · r / max(t_a, t_b)
    r          = (t_a / t_b)^gamma_b  where t_a < t_b,  else (t_b / t_a)^gamma_a

Chosen:   averages are float32 whatever the weights are; integers (counters) are taken over.
Left out: warm-up of a fixed decay, which the profile makes needless.
Try it:   pytest tests/generators/test_ema.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["WIDTHS", "Kept", "PowerAverage", "average_afterwards", "gamma_of"]

WIDTHS = (0.05, 0.10)


def gamma_of(width: float) -> float:
    """The exponent of a profile of this width. Raises ValueError outside 0 < width < 0.288, a profile that is even."""
    if not 0.0 < width < 12**-0.5:
        raise ValueError(f"an average cannot be {width} of the training wide: give something between 0 and 0.288")
    inverse = width**-2
    return float(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real.max())


@dataclass(frozen=True, slots=True)
class Kept:
    """An average as it stood after `step` steps; all there is to it, for a checkpoint too."""

    step: int
    width: float
    mean: dict[str, Tensor]


class PowerAverage:
    """One average that is followed, from the first step or from where it was kept."""

    def __init__(self, width: float, kept: Kept | None = None) -> None:
        self.width, self._gamma = width, gamma_of(width)
        assert kept is None or kept.width == width, f"an average of width {width} cannot go on from one of {kept.width}"
        self._step, self._mean = (0, dict[str, Tensor]()) if kept is None else (kept.step, _copy(kept.mean))

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Take in the weights after the next step."""
        self._step += 1
        share = 1.0 - (1.0 - 1.0 / self._step) ** (self._gamma + 1.0)
        for name, weight in weights.items():
            if self._step == 1 or not weight.is_floating_point():
                kind = torch.float32 if weight.is_floating_point() else weight.dtype
                self._mean[name] = weight.detach().to(kind, copy=True)
            else:
                self._mean[name].lerp_(weight.detach().to(self._mean[name]), share)

    @property
    def mean(self) -> Mapping[str, Tensor]:
        """The average, which the next step changes; empty before the first."""
        return self._mean

    def keep(self) -> Kept:
        """The average as it stands."""
        return Kept(self._step, self.width, _copy(self._mean))


def _copy(mean: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in mean.items()}


def average_afterwards(kept: Sequence[Kept], step: int, width: float) -> dict[str, Tensor]:
    """The average of this width after `step` steps, from averages that were kept. Raises ValueError without any."""
    if not kept:
        raise ValueError("no average was kept, so none can be made of them")
    steps, gammas = np.array([one.step for one in kept], float), np.array([gamma_of(one.width) for one in kept])
    among = _products(steps[:, None], gammas[:, None], steps[None, :], gammas[None, :])
    wanted = _products(steps, gammas, np.array(float(step)), np.array(gamma_of(width)))
    shares = np.linalg.lstsq(among, wanted, rcond=None)[0]
    shares /= shares.sum()  # what never moved stays as it is
    return {
        name: sum((one.mean[name] * float(share) for one, share in zip(kept, shares, strict=True)), torch.zeros(()))
        if first.is_floating_point()
        else max(kept, key=lambda one: one.step).mean[name]
        for name, first in kept[0].mean.items()
    }


def _products(
    t_a: NDArray[np.float64], g_a: NDArray[np.float64], t_b: NDArray[np.float64], g_b: NDArray[np.float64]
) -> NDArray[np.float64]:
    ratio = np.where(t_a < t_b, (t_a / t_b) ** g_b, (t_b / t_a) ** g_a)
    found: NDArray[np.float64] = (g_a + 1) * (g_b + 1) / (g_a + g_b + 1) * ratio / np.maximum(t_a, t_b)
    return found
