"""Small convolutional networks: pictures to a vector, and a vector to a picture.

Source: Radford et al. (2015), DCGAN; He et al. (2016), Identity mappings, for blocks; Miyato and Koyama (2018), cGANs
with projection discriminator, eq. 3; Karras et al. (2017), Progressive growing, section 3, for minibatch statistics.

    block     x + conv( act( conv( act(x) ) ) ) / 2
    shrink    half the side, twice the channels, then a block;   grow: the other way round
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

__all__ = ["Critic", "GridDecoder", "GridEncoder", "PictureDecoder", "PictureEncoder", "shrinks", "whole_cells"]

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


def whole_cells(kept: Tensor, halvings: int) -> Tensor:
    """(B, 1, h, w) bool: places of a grid, halved so often, of which every pixel of (B, C, H, W) is kept."""
    return F.avg_pool2d(kept.float().amin(1, keepdim=True), 2**halvings) == 1.0


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

    width     channels at half the size, doubled with every halving up to `most`
    spectral  keep every layer's largest singular value at 1 (Miyato et al., 2018)
    """

    def __init__(
        self, shape: tuple[int, int, int], out: int, *, width: int = 32, most: int = 256, spectral: bool = False
    ) -> None:
        super().__init__()
        times = shrinks(*shape[1:])
        wrap = spectral_norm if spectral else _same
        layers, here = _shrinking(shape[0], _sizes(width, most, times), times, 1, wrap)
        self.body = nn.Sequential(*layers, nn.LeakyReLU(_SLOPE))
        self.head = wrap(nn.Linear(here * (shape[1] >> times) * (shape[2] >> times), out))

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
        times = shrinks(*shape[1:])
        sizes = _sizes(width, most, times)
        self.coarse = (sizes[-1], shape[1] >> times, shape[2] >> times)
        self.condition = Condition(d_in, classes=classes, vector=vector)
        self.start = nn.Linear(2 * d_in if classes or vector else d_in, math.prod(self.coarse))
        self.body = nn.Sequential(*_growing(shape[0], sizes, times, 1))

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
        layers, here = _shrinking(shape[0], _sizes(width, most, times), times, blocks, _same)
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
        sizes = _sizes(width, most, times)
        self.start = nn.Conv2d(d_in, sizes[-1], 1)
        self.condition = Condition(sizes[-1], classes=classes, vector=vector)
        self.body = nn.Sequential(*_growing(shape[0], sizes, times, blocks))

    def forward(self, z: Tensor, given: Tensor | None = None) -> Tensor:
        found: Tensor = self.body(self.start(z) + self.condition(given, len(z))[:, :, None, None])
        return found


def _sizes(width: int, most: int, times: int) -> list[int]:
    """Channels after each halving, finest first; one entry where nothing is halved."""
    return [min(width << level, most) for level in range(max(1, times))]


def _shrinking(
    channels: int, sizes: list[int], times: int, blocks: int, wrap: Callable[[nn.Module], nn.Module]
) -> tuple[list[nn.Module], int]:
    """Halvings with residual blocks after each, and the channels at the end. At full size nothing is computed but the
    first halving: a block there costs four times as much as the next."""
    layers, here = list[nn.Module](), channels
    for level, size in enumerate(sizes):
        layers += [nn.LeakyReLU(_SLOPE)] if level else []
        layers += [wrap(nn.Conv2d(here, size, *((4, 2, 1) if times else (3, 1, 1))))]
        layers += [Residual(size, wrap) for _ in range(blocks)]
        here = size
    return layers, here


def _growing(channels: int, sizes: list[int], times: int, blocks: int) -> list[nn.Module]:
    """The way back."""
    layers: list[nn.Module] = []
    for here, size in zip(reversed(sizes), [*reversed(sizes[:-1]), channels], strict=True):
        layers += [Residual(here, _same) for _ in range(blocks)]
        layers += [nn.LeakyReLU(_SLOPE)]
        layers += [nn.ConvTranspose2d(here, size, 4, 2, 1) if times else nn.Conv2d(here, size, 3, padding=1)]
    return layers


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
