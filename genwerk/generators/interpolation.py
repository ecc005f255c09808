"""Between two draws: noise on the arc from one to the other, so that each point of it is as likely as a draw.

Source: Shoemake (1985), Animating rotation with quaternion curves (slerp); White (2016), Sampling generative networks.

    z(t) = sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b,    cos(w) = a · b / |a| |b|
"""

from __future__ import annotations

import torch
from torch import Tensor

from genwerk.generators.family import Family
from genwerk.generators.noise import Noise

__all__ = ["between", "slerp"]


def slerp(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    """(N, *shape): `a` at share 0, `b` at share 1, both (*shape)."""
    flat = [one.flatten().double() for one in (a, b)]
    cosine = (flat[0] @ flat[1] / (flat[0].norm() * flat[1].norm())).clamp(-1.0, 1.0)
    angle = torch.arccos(cosine)
    t = shares.double()[:, None]
    if float(angle.sin()) < 1e-6:  # the same, or opposite: along the line
        found = (1 - t) * flat[0] + t * flat[1]
    else:
        found = (torch.sin((1 - t) * angle) * flat[0] + torch.sin(t * angle) * flat[1]) / torch.sin(angle)
    return found.to(a.dtype).view(len(shares), *a.shape)


def between(family: Family, seed: int, first: int, second: int, count: int) -> Tensor:
    """Noise (count, …) from one draw of a seed to another, both included."""
    a, b = (Noise(seed, 1, first=draw).draw(family.noise_shape)[0] for draw in (first, second))
    return slerp(a, b, torch.linspace(0.0, 1.0, count))
