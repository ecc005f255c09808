"""Small convolutional networks: pictures to a vector, and a vector to a picture.

Source: Radford et al. (2015), DCGAN; He et al. (2016), Identity mappings, for blocks; Miyato and Koyama (2018), cGANs
with projection discriminator, eq. 3; Karras et al. (2017), Progressive growing, section 3, for minibatch statistics.

    block     x + conv( act( conv( act(x) ) ) ) / 2
    shrink    half the side, twice the channels;   grow: the other way round
    score     w · h + e(class) · h                       h the vector of a picture, e a table or a matrix (projection)

Chosen:   no norm over the batch, so that what is made of one picture does not depend on its neighbours; the critic may
          see how much the pictures of a batch differ (minibatch statistics), which is the point of those.
Left out: style layers, noise in every layer.
Try it:   pytest tests/models/test_convnet.py
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from genwerk.core.errors import ModelError
from genwerk.models.condition import Condition

__all__ = ["Critic", "GridDecoder", "GridEncoder", "PictureDecoder", "PictureEncoder", "shrinks"]

_COARSEST = 4  # pictures are halved as long as their sides are even and stay this long
_SLOPE = 0.2  # of what is below zero


def shrinks(height: int, width: int) -> int:
    """How often a picture is halved. Raises ModelError for one that is smaller than 4 pixels."""
    if min(height, width) < _COARSEST:
        raise ModelError(
            f"pictures of {height} × {width} pixels are too small", remedy="Give sides of 4 pixels or more."
        )
    times = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) // 2 >= _COARSEST:
        height, width, times = height // 2, width // 2, times + 1
    return times


class Residual(nn.Module):
    """(B, C, H, W) to the same."""

    def __init__(self, channels: int, wrap: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.inner, self.outer = (wrap(nn.Conv2d(channels, channels, 3, padding=1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.outer(F.leaky_relu(self.inner(F.leaky_relu(x, _SLOPE)), _SLOPE))
        found: Tensor = x + 0.5 * h
        return found


class PictureEncoder(nn.Module):
    """(B, C, H, W) to (B, out).

    width     channels at full size, doubled with every halving up to `most`
    spectral  keep every layer's largest singular value at 1 (Miyato et al., 2018)
    """

    def __init__(
        self, shape: tuple[int, int, int], out: int, *, width: int = 32, most: int = 256, spectral: bool = False
    ) -> None:
        super().__init__()
        channels, height, across = shape
        wrap = spectral_norm if spectral else _same
        times, here = shrinks(height, across), width
        layers: list[nn.Module] = [wrap(nn.Conv2d(channels, here, 3, padding=1))]
        for _ in range(times):
            size = min(2 * here, most)
            layers += [Residual(here, wrap), nn.LeakyReLU(_SLOPE), wrap(nn.Conv2d(here, size, 4, stride=2, padding=1))]
            here = size
        self.body = nn.Sequential(*layers, Residual(here, wrap), nn.LeakyReLU(_SLOPE))
        self.flat = here * (height >> times) * (across >> times)
        self.head = wrap(nn.Linear(self.flat, out))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(x).flatten(1))
        return found


class PictureDecoder(nn.Module):
    """(B, d_in), and what is asked for, to (B, C, H, W) without bounds. width, most: as the encoder's."""

    def __init__(
        self,
        d_in: int,
        shape: tuple[int, int, int],
        *,
        width: int = 32,
        most: int = 256,
        classes: int = 0,
        vector: int = 0,
    ) -> None:
        super().__init__()
        channels, height, across = shape
        times = shrinks(height, across)
        sizes = [min(width << level, most) for level in range(times + 1)]
        self.coarse = (sizes[-1], height >> times, across >> times)
        self.condition = Condition(d_in, classes=classes, vector=vector)
        self.start = nn.Linear(2 * d_in if classes or vector else d_in, math.prod(self.coarse))
        layers: list[nn.Module] = [Residual(sizes[-1], _same)]
        for here, size in zip(reversed(sizes[1:]), reversed(sizes[:-1]), strict=True):
            grow = nn.ConvTranspose2d(here, size, 4, stride=2, padding=1)
            layers += [nn.LeakyReLU(_SLOPE), grow, Residual(size, _same)]
        self.body = nn.Sequential(*layers, nn.LeakyReLU(_SLOPE), nn.Conv2d(sizes[0], channels, 3, padding=1))

    def forward(self, z: Tensor, given: Tensor | None = None) -> Tensor:
        if self.condition.none is not None:
            z = torch.cat([z, self.condition(given, len(z))], 1)
        found: Tensor = self.body(self.start(z).view(-1, *self.coarse))
        return found


class GridEncoder(nn.Module):
    """(B, C, H, W) to (B, out, H / 2^times, W / 2^times): what is where. Raises ModelError for odd sides on the way."""

    def __init__(
        self, shape: tuple[int, int, int], out: int, times: int, *, width: int = 32, most: int = 256, blocks: int = 1
    ) -> None:
        super().__init__()
        check_halves(shape, times)
        here = width
        layers: list[nn.Module] = [nn.Conv2d(shape[0], here, 3, padding=1)]
        for _ in range(times):
            size = min(2 * here, most)
            layers += [Residual(here, _same) for _ in range(blocks)]
            layers += [nn.LeakyReLU(_SLOPE), nn.Conv2d(here, size, 4, stride=2, padding=1)]
            here = size
        layers += [Residual(here, _same) for _ in range(blocks)]
        self.body = nn.Sequential(*layers, nn.LeakyReLU(_SLOPE), nn.Conv2d(here, out, 1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x)
        return found


class GridDecoder(nn.Module):
    """(B, d_in, h, w) and what is asked for to (B, C, H, W) without bounds."""

    def __init__(
        self,
        d_in: int,
        shape: tuple[int, int, int],
        times: int,
        *,
        width: int = 32,
        most: int = 256,
        blocks: int = 1,
        classes: int = 0,
        vector: int = 0,
    ) -> None:
        super().__init__()
        sizes = [min(width << level, most) for level in range(times + 1)]
        self.start = nn.Conv2d(d_in, sizes[-1], 1)
        self.condition = Condition(sizes[-1], classes=classes, vector=vector)
        layers: list[nn.Module] = [Residual(sizes[-1], _same) for _ in range(blocks)]
        for here, size in zip(reversed(sizes[1:]), reversed(sizes[:-1]), strict=True):
            layers += [nn.LeakyReLU(_SLOPE), nn.ConvTranspose2d(here, size, 4, stride=2, padding=1)]
            layers += [Residual(size, _same) for _ in range(blocks)]
        self.body = nn.Sequential(*layers, nn.LeakyReLU(_SLOPE), nn.Conv2d(sizes[0], shape[0], 3, padding=1))

    def forward(self, z: Tensor, given: Tensor | None = None) -> Tensor:
        found: Tensor = self.body(self.start(z) + self.condition(given, len(z))[:, :, None, None])
        return found


def check_halves(shape: tuple[int, int, int], times: int) -> None:
    """Raises ModelError for a picture that cannot be halved so often."""
    step = 2**times
    if shape[1] % step or shape[2] % step:
        what = f"pictures of {shape[1]} × {shape[2]} cannot be halved {times} times"
        raise ModelError(what, remedy=f"Give sides that are multiples of {step}, or fewer halvings.")


class Critic(nn.Module):
    """(B, C, H, W), and what it was asked to be, to a score (B,). statistics: see how much a batch differs."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        width: int = 32,
        most: int = 256,
        classes: int = 0,
        vector: int = 0,
        spectral: bool = False,
        statistics: bool = False,
        inner: int = 128,
    ) -> None:
        super().__init__()
        channels, height, across = shape
        self.statistics = statistics
        seen = (channels + int(statistics), height, across)
        self.encoder = PictureEncoder(seen, inner, width=width, most=most, spectral=spectral)
        self.condition = Condition(inner, classes=classes, vector=vector)
        self.score = nn.Linear(inner, 1)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        if self.statistics:
            apart = (x.var(0, unbiased=False) + 1e-8).sqrt().mean()  # where all agree, a root has no slope
            x = torch.cat([x, apart.expand(len(x), 1, *x.shape[2:])], 1)
        h = F.leaky_relu(self.encoder(x), _SLOPE)
        score: Tensor = self.score(h)[:, 0]
        if self.condition.none is not None:
            score = score + (self.condition(given, len(x)) * h).sum(1) / math.sqrt(h.shape[1])
        return score


def _same(module: nn.Module) -> nn.Module:
    return module
