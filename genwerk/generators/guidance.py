"""Classifier-free guidance: away from what the network makes without the condition, towards what it makes with it.

Source: Ho and Salimans (2022), Classifier-free diffusion guidance, eq. 6; Kynkäänniemi et al. (2024), Applying guidance
in a limited interval.

    x0 = x0(x, none) + w (x0(x, c) - x0(x, none))      where low <= sigma / alpha <= high,  else x0(x, c)

w   1 is the condition alone; above 1 obedience grows and diversity shrinks

Chosen:   x0 is guided; noise and velocity are linear in it, so guiding them is the same.
Left out: rescaling of the guided estimate, guidance by a weaker network.
Try it:   pytest tests/generators/test_guidance.py
"""

from __future__ import annotations

import math

from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.generators.path import Path
from genwerk.generators.solve import Denoiser

__all__ = ["guide"]


def guide(
    asked: Denoiser, free: Denoiser, path: Path, weight: float, *, low: float = 0.0, high: float = math.inf
) -> Denoiser:
    """A denoiser of both. Outside the interval, and at weight 1, only `asked` is called.

    asked, free   with the condition, and without
    low, high     between which ratios of noise to data guidance acts

    Raises RequestError for a weight that is not finite, or an empty interval.
    """
    if not math.isfinite(weight) or not low < high:
        what = f"guidance of {weight} between {low} and {high} cannot be"
        raise RequestError(what, param="guidance", remedy="Give a finite number, and an interval that is not empty.")

    def denoise(x: Tensor, t: float) -> Tensor:
        here, x0 = path.at(t), asked(x, t)
        ratio = here.sigma / here.alpha if here.alpha > 0.0 else math.inf
        if weight == 1.0 or not low <= ratio <= high:
            return x0
        without = free(x, t)
        return without + weight * (x0 - without)

    return denoise
