"""A U-Net for pictures: what it sees at a coarse grid and at a fine one, in one estimate of every pixel.

Source: Ronneberger et al. (2015), U-Net; Ho et al. (2020), DDPM, appendix B; Dhariwal and Nichol (2021), section 3, for
scale and shift by the condition; Vaswani et al. (2017), section 3.5, for waves of the time.

    block   h = conv( silu( norm(x) ) ),   h = conv( silu( norm(h) (1 + a) + b ) ),   x + h
    a, b    linear in  silu( MLP( waves(1000 t) ) + condition )

down:   `blocks` blocks a level, then a convolution of stride 2      up: each takes what the level below it left, too
        and after a level every pixel is doubled and convolved: of the 3 × 3 weights that meet copies of one pixel only
        the sum counts, so four convolutions of 2 × 2 on the coarse grid give the same, with 4/9 of the products

Chosen:   the last convolution of a block and of the network begins at 0, so that an untrained network changes nothing;
          group norm, whose numbers are those of one picture alone; attention at the levels that are named only; all
          scales and shifts are one product.
Left out: resampling filters, attention to words, weights without a norm (EDM2).
Try it:   pytest tests/models/test_unet.py
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.core.errors import ModelError
from genwerk.models.condition import Condition

__all__ = ["UNet", "waves"]

_GROUP = 8  # channels that are normalised together


class UNet(nn.Module):
    """(B, C, H, W) at times (B,) between 0 and 1 to (B, out, H, W).

    width, multipliers   channels of each level, finest first: width · multiplier
    blocks               on the way down in each level; one more on the way up
    attention            levels with attention, 0 the finest
    classes, vector      what it can be asked for, see condition.py

    Raises ModelError for a width that is no multiple of 8.
    """

    def __init__(
        self,
        channels: int,
        *,
        out: int | None = None,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 1,
        attention: Sequence[int] = (),
        classes: int = 0,
        vector: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % _GROUP:
            raise ModelError(f"a U-Net cannot be {width} wide", remedy=f"Give a multiple of {_GROUP}.")
        self.levels, inner = len(multipliers), 4 * width
        self.width, self.condition = width, Condition(inner, classes=classes, vector=vector)
        self.time = nn.Sequential(nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, inner))
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        sizes, kept = [width * multiplier for multiplier in multipliers], [width]
        self.down, here = nn.ModuleList(), width
        for level, size in enumerate(sizes):
            for _ in range(blocks):
                self.down.append(Stage(here, size, dropout, level in attention))
                kept.append(here := size)
            if level + 1 < len(sizes):
                self.down.append(nn.Conv2d(here, here, 3, stride=2, padding=1))
                kept.append(here)
        self.middle = nn.ModuleList(Stage(here, here, dropout, bool(attention) and not index) for index in range(2))
        self.up = nn.ModuleList()
        for level, size in reversed(list(enumerate(sizes))):
            for _ in range(blocks + 1):
                self.up.append(Stage(here + kept.pop(), size, dropout, level in attention))
                here = size
            if level:
                self.up.append(Doubling(here, here, 3, padding=1))
        self.bent = [2 * part.size for part in (*self.down, *self.middle, *self.up) if isinstance(part, Stage)]
        self.bend = nn.Linear(inner, sum(self.bent))
        self.norm, self.last = _norm(here), _zero(nn.Conv2d(here, out or channels, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor, given: Tensor | None = None) -> Tensor:
        """Raises ModelError for pictures that cannot be halved as often as there are levels."""
        _check_size(x, self.levels)
        asked = F.silu(self.time(waves(time, self.width)) + self.condition(given, len(x)))  # (B, inner)
        bends = iter(self.bend(asked)[:, :, None, None].split(self.bent, 1))
        x = self.first(x)
        kept = [x]
        for part in self.down:
            x = part(x, next(bends)) if isinstance(part, Stage) else part(x)
            kept.append(x)
        for part in self.middle:
            x = part(x, next(bends))
        for part in self.up:
            x = part(torch.cat([x, kept.pop()], 1), next(bends)) if isinstance(part, Stage) else part(x)
        found: Tensor = self.last(F.silu(self.norm(x), inplace=True))
        return found


class Stage(nn.Module):
    """A block, see above, and attention where it is asked for: (B, C, H, W) to (B, C', H, W)."""

    def __init__(self, d_in: int, d_out: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.norm_in, self.norm_out = _norm(d_in), _norm(d_out)
        self.conv_in, self.conv_out = nn.Conv2d(d_in, d_out, 3, padding=1), _zero(nn.Conv2d(d_out, d_out, 3, padding=1))
        self.skip = nn.Conv2d(d_in, d_out, 1) if d_in != d_out else nn.Identity()
        self.size, self.dropout = d_out, dropout
        self.attention = Attention(d_out) if attends else None

    def forward(self, x: Tensor, bend: Tensor) -> Tensor:
        scale, shift = bend.chunk(2, 1)
        h = self.norm_out(self.conv_in(F.silu(self.norm_in(x), inplace=True)))
        h = F.silu(torch.addcmul(shift, h, 1 + scale), inplace=True)
        x = self.conv_out(F.dropout(h, self.dropout, self.training)).add_(self.skip(x))
        return x if self.attention is None else self.attention(x)


class Doubling(nn.Conv2d):
    """Every pixel doubled to the right and downwards, then a convolution of 3 × 3: (B, C, H, W) to (B, C', 2H, 2W)."""

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        O = self.out_channels  # noqa: E741
        nine = self.weight.permute(0, 2, 3, 1).reshape(O, 9, C)
        four = (torch.kron(_MET, _MET).to(nine) @ nine).view(O, 2, 2, 2, 2, C)  # rows: of the pixel, of the weight
        four = four.permute(1, 3, 0, 2, 4, 5).reshape(4 * O, 2, 2, C).permute(0, 3, 1, 2)
        assert self.bias is not None
        wide = F.conv2d(x, four, self.bias.repeat(4), padding=1)
        found = wide.new_empty(B, H, 2, W, 2, O)
        for number, part in enumerate(wide.permute(0, 2, 3, 1).chunk(4, 3)):
            p, q = divmod(number, 2)
            found[:, :, p, :, q] = part[:, p : p + H, q : q + W]
        return found.view(B, 2 * H, 2 * W, O).permute(0, 3, 1, 2)


_MET = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
"""(4, 3): which of three weights meet the first and the second pixel underneath, at an even pixel and at an odd one."""


class Attention(nn.Module):
    """Every place of a picture looks at every other: (B, C, H, W) to the same."""

    def __init__(self, size: int, head: int = 32) -> None:
        super().__init__()
        self.heads = max(1, size // head)
        self.norm, self.qkv, self.out = _norm(size), nn.Conv2d(size, 3 * size, 1), _zero(nn.Conv2d(size, size, 1))

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        qkv = self.qkv(self.norm(x)).flatten(2).view(B, 3, self.heads, C // self.heads, H * W)
        q, k, v = qkv.transpose(-1, -2).unbind(1)  # (B, heads, H W, C / heads)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(B, C, H, W)
        found: Tensor = x + self.out(seen)
        return found


def waves(time: Tensor, width: int) -> Tensor:
    """(B,) between 0 and 1 to (B, width): cosines and sines of 1000 t at frequencies from 1 to 1 / 10,000."""
    half = width // 2
    falling = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device) / half)
    angle = 1000.0 * time.float()[:, None] * falling
    return torch.cat([angle.cos(), angle.sin()], 1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // _GROUP, channels)


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _check_size(x: Tensor, levels: int) -> None:
    step = 2 ** (levels - 1)
    if x.shape[-1] % step or x.shape[-2] % step:
        what = f"pictures of {x.shape[-2]} × {x.shape[-1]} cannot be halved {levels - 1} times"
        raise ModelError(what, remedy=f"Give sides that are multiples of {step}, or fewer `multipliers`.")
