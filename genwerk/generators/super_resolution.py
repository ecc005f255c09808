"""Super-resolution: a flow draws what a picture of twice the size has beyond a small one, for pictures of any size.

Source: Saharia et al. (2021), Image super-resolution via iterative refinement (SR3), section 2, for what the network is
told; Ho et al. (2021), Cascaded diffusion models, section 4, for noise on it; Wang et al. (2022), Zero-shot image
restoration using denoising diffusion null-space model (DDNM), section 3, for agreement; flow.py; tiling.py.

    y = D x          D the mean of each 2 × 2 pixels, U repeats a pixel 2 × 2 times, so that D U y = y
    b = B y          B bicubic interpolation, all that the network is told
    r = (x - b) / d            d the deviation of x - b, measured on the pictures that are learned from
    r_t = (1 - t) r + t eps,   v = eps - r,   loss = mean | v(r_t, b, t) - v |²
    x = b + d r_0,   x <- clamp(x + U l),  l such that D x = y        at every step: of all pictures from -1 to 1 that
                               average down to the small one, the nearest

A single step of Euler from pure noise gives the mean of all r that go with y: sharpest by PSNR, and nothing invented.

Chosen:   the network sees 2 × 2 pixels as channels of one, at a quarter of the cost; it learns from random tiles and
          draws tiles of the same size, whose velocities are blended in every step, with the random numbers of the
          place; pictures smaller than a tile are reflected.
Left out: other scales than 2 (twice is 4), blur and compression of real cameras, which are not undone.
Try it:   genwerk run recipes/emoji-enlarge.yaml
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genwerk.core.config import Config, Field
from genwerk.core.errors import ModelError
from genwerk.generators.denoising import denoise_frames
from genwerk.generators.family import Ask, Batch, Loss, Player, Preview, Space, Use
from genwerk.generators.flow import velocity_loss
from genwerk.generators.networks import NetworkConfig, make_denoiser
from genwerk.generators.path import Linear, mix
from genwerk.generators.tiling import blend, reflected, strips
from genwerk.models.condition import drop

__all__ = ["SCALE", "SuperResolution", "SuperResolutionConfig", "agreeing", "bicubic", "even", "mean_down", "repeat_up"]

SCALE = 2
_NETWORK = NetworkConfig(width=32, multipliers=(1, 2))
_TOGETHER = 16  # tiles in one call
_HALVINGS = 20


class SuperResolutionConfig(Config):
    """A flow that is told a small picture; the defaults suit two cores."""

    network: NetworkConfig = Field(_NETWORK, description="what sees a noisy tile beside the small picture")
    tile: int = Field(32, ge=4, multiple_of=SCALE, description="side of what is learned from and drawn at once")
    overlap: int = Field(8, ge=0, multiple_of=SCALE, description="pixels over which one tile passes into the next")
    draws: Literal["residual", "picture"] = Field("residual", description="what the large picture has beyond, or all")
    consistent: bool = Field(True, description="averaged down, what is drawn is the small picture again")
    condition_noise: float = Field(0.0, ge=0, description="most noise on what the network is told, in training")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    betas: tuple[float, float] = Field((0.9, 0.99), description="memory of AdamW's two running means")
    weight_decay: float = Field(0.0, ge=0, description="pull of the matrices towards zero")
    time_mean: float = Field(0.5, description="m of t = sigmoid(n), n ~ N(m, s²): above 0 more noise is seen")
    time_spread: float = Field(
        1.4, gt=0, description="s: how far from m times are drawn; pure noise matters, see above"
    )
    drop: float = Field(0.1, ge=0, lt=1, description="share of classes or texts that are hidden, for guidance")
    steps: int = Field(8, ge=1, description="of the solver, where an ask names none")
    solver: Literal["euler", "heun", "dpm_solver", "ancestral"] = Field("euler", description="the same")


class Networks(nn.Module):
    """The denoiser, and the deviation of what it draws."""

    deviation: Tensor

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, x: Tensor, told: Tensor, t: Tensor, given: Tensor | None) -> Tensor:
        """(B, C, T, T) each, times (B,) and what is given to velocities (B, C, T, T)."""
        seen = F.pixel_unshuffle(torch.cat([x, told], 1), SCALE)  # (B, 8 C, T / 2, T / 2)
        return F.pixel_shuffle(self.denoiser(seen, t, given), SCALE)


class SuperResolution:
    """A family, see family.py; its space is that of the pictures it learned from, samples are of any size.

    Raises ModelError for tiles that do not fit.
    """

    uses: frozenset[Use] = frozenset({"small", "given", "steps", "solver", "guidance", "interval"})

    def __init__(self, config: SuperResolutionConfig, space: Space) -> None:
        channels, height, width = space.picture
        if config.tile > min(height, width) or config.overlap >= config.tile:
            what = f"tiles of {config.tile} that overlap by {config.overlap} do not fit into {height} × {width}"
            raise ModelError(what, remedy="Set `tile` to at most the side of the pictures, and `overlap` below that.")
        self.config, self.space, self.noise_shape, self.path = config, space, space.shape, Linear()
        inner = replace(space, shape=(channels * SCALE**2, config.tile // SCALE, config.tile // SCALE))
        self.network: Networks = Networks(make_denoiser(config.network, inner, told=inner.shape[0]))

    def measure(self, pictures: Iterable[Tensor]) -> None:
        """The deviation of what is drawn, over batches of pictures (B, C, H, W)."""
        squares, count = torch.zeros((), dtype=torch.float64), 0
        for x in pictures:
            _, rest = self._split(x)
            squares, count = squares + rest.double().square().sum(), count + rest.numel()
        self.network.deviation.copy_((squares / count).clamp(min=1e-8).sqrt())

    def players(self) -> Sequence[Player]:
        own = self.config
        return [Player("super_resolution", self.network, self.loss, own.lr, own.betas, own.weight_decay)]

    def loss(self, batch: Batch) -> Loss:
        told, rest = self._split(batch.x)
        rest, told = random_tiles((rest / self.network.deviation, told), self.config.tile)
        noise, apart = torch.randn_like(rest), torch.randn(len(rest), device=rest.device)
        if self.config.condition_noise:
            told = told + self.config.condition_noise * torch.rand_like(rest[:, :1, :1, :1]) * torch.randn_like(told)
        t = torch.sigmoid(self.config.time_mean + self.config.time_spread * apart)
        given = None if batch.given is None else drop(batch.given, self.config.drop)
        return Loss(velocity_loss(self.network(mix(self.path, rest, noise, t), told, t, given), rest, noise))

    def estimate(self, x: Tensor, t: float, given: Tensor | None, *, told: Tensor, small: Tensor) -> Tensor:
        """r_0 of r_t (B, C, H, W), by tiles; told, small: b and y."""
        own = self.config
        down, across = (strips(side, own.tile, own.overlap, step=SCALE) for side in x.shape[-2:])

        def velocity(tiles: Tensor, seen: Tensor) -> Tensor:
            asked = None if given is None else given.repeat(len(tiles) // len(x), *[1] * (given.ndim - 1))
            found: Tensor = self.network(tiles, seen, tiles.new_full((len(tiles),), t), asked)
            return found

        rest = x - t * blend(velocity, (x, told), down, across, _TOGETHER)
        if not own.consistent:
            return rest
        x = agreeing(self._picture(rest, told), small)
        return (x - self._known(told)) / self.network.deviation

    def frames(self, ask: Ask) -> Iterator[Preview]:
        assert ask.small is not None
        own, device = self.config, self.network.deviation.device
        height, width = (SCALE * side for side in ask.small.shape[-2:])
        small = reflected(ask.small.to(device), own.tile // SCALE, own.tile // SCALE)
        told = bicubic(small)
        canvas = replace(self.space, shape=tuple(told.shape[1:]))
        estimate = partial(self.estimate, told=told, small=small)
        inner = replace(ask, small=None)
        for preview in denoise_frames(
            estimate, self.path, canvas, inner, steps=own.steps, solver=own.solver, device=device, bound=None
        ):
            x = self._picture(preview.x, told)[..., :height, :width]
            yield Preview(x.clamp(-1.0, 1.0), preview.done, preview.of)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is told of large pictures, and what is left to be drawn."""
        x = even(x)
        told = bicubic(mean_down(x))
        return told, x - self._known(told)

    def _known(self, told: Tensor) -> Tensor:
        return told if self.config.draws == "residual" else torch.zeros_like(told)

    def _picture(self, rest: Tensor, told: Tensor) -> Tensor:
        return self._known(told) + self.network.deviation * rest


def even(x: Tensor) -> Tensor:
    """(B, C, H, W) without the last row or column where their number is odd."""
    return x[..., : x.shape[-2] // SCALE * SCALE, : x.shape[-1] // SCALE * SCALE]


def mean_down(x: Tensor) -> Tensor:
    """D: (B, C, 2 h, 2 w) to (B, C, h, w)."""
    return F.avg_pool2d(x, SCALE)


def repeat_up(y: Tensor) -> Tensor:
    """U: (B, C, h, w) to (B, C, 2 h, 2 w)."""
    return F.interpolate(y, scale_factor=float(SCALE), mode="nearest")


def bicubic(y: Tensor) -> Tensor:
    """B: (B, C, h, w) to (B, C, 2 h, 2 w), as Pillow and Matlab do it (Keys, 1981, a = -1/2)."""
    return F.interpolate(y, scale_factor=float(SCALE), mode="bicubic", align_corners=False, antialias=True)


def agreeing(x: Tensor, y: Tensor) -> Tensor:
    """The nearest to x (B, C, 2 h, 2 w) of all from -1 to 1 whose D is y (B, C, h, w): clamp(x + U l), l by halving."""
    widest = 1.0 + x.abs().amax((1, 2, 3), keepdim=True)
    low, high = -widest.expand_as(y), widest.expand_as(y)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = mean_down((x + repeat_up(middle)).clamp(-1.0, 1.0)) < y
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (x + repeat_up(high)).clamp(-1.0, 1.0)


def random_tiles(pictures: Sequence[Tensor], side: int) -> list[Tensor]:
    """Of each (B, C, H, W) the same tile (B, C, side, side), another for every row, by torch's global generator."""
    count, _, height, width = pictures[0].shape
    tops, lefts = ((SCALE * torch.randint((whole - side) // SCALE + 1, (count,))).tolist() for whole in (height, width))
    return [
        torch.stack([x[:, top : top + side, left : left + side] for x, top, left in zip(one, tops, lefts, strict=True)])
        for one in pictures
    ]
