"""A transformer over the patches of a picture, bent by time and condition in every layer.

Source: Peebles and Xie (2022), Scalable diffusion models with transformers (DiT), section 3.2, adaLN-Zero; Dosovitskiy
et al. (2020) for patches.

    x = x + g1 attention( (1 + a1) LN(x) + b1 )
    x = x + g2 mlp( (1 + a2) LN(x) + b2 )            a, b, g: linear in  silu( MLP( waves(1000 t) ) + condition )

Chosen:   g begins at 0, so that every layer begins as nothing; places are told by fixed waves in both directions.
Left out: rotary positions, attention to words.
Try it:   pytest tests/models/test_dit.py
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.core.errors import ModelError
from genwerk.models.condition import Condition
from genwerk.models.unet import waves

__all__ = ["DiT"]


class DiT(nn.Module):
    """(B, C, H, W) at times (B,) between 0 and 1 to (B, out, H, W); out: C where it is left out.

    Raises ModelError for sides that are no multiple of `patch`, or a width that heads do not divide.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        out: int | None = None,
        width: int = 192,
        depth: int = 6,
        heads: int = 4,
        patch: int = 2,
        classes: int = 0,
        vector: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, across = shape
        if height % patch or across % patch or width % heads or width % 4:
            what = f"{height} × {across} in patches of {patch}, {width} wide with {heads} heads, does not come out even"
            raise ModelError(what, remedy="Sides must be multiples of `patch`, the width one of `heads` and of 4.")
        self.width, self.patch = width, patch
        self.condition = Condition(width, classes=classes, vector=vector)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.first = nn.Conv2d(channels, width, patch, stride=patch)
        self.register_buffer("places", _places(height // patch, across // patch, width), persistent=False)
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(depth))
        self.bend, self.last = nn.Linear(width, 2 * width), nn.Linear(width, (out or channels) * patch * patch)
        for linear in (self.bend, self.last):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, time: Tensor, given: Tensor | None = None) -> Tensor:
        B, _, H, W = x.shape
        asked = F.silu(self.time(waves(time, self.width)) + self.condition(given, B))  # (B, D)
        h = self.first(x).flatten(2).transpose(1, 2) + self.places  # (B, T, D)
        for layer in self.layers:
            h = layer(h, asked)
        scale, shift = self.bend(asked)[:, None].chunk(2, -1)
        h = self.last(torch.addcmul(shift, F.layer_norm(h, (self.width,)), 1 + scale))  # (B, T, out p p)
        p = self.patch
        return F.fold(h.transpose(1, 2), (H, W), p, stride=p)


class Layer(nn.Module):
    """(B, T, D) to the same, see above."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.width, self.heads, self.dropout = width, heads, dropout
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.bend = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.bend.weight)
        nn.init.zeros_(self.bend.bias)

    def forward(self, x: Tensor, asked: Tensor) -> Tensor:
        a1, b1, g1, a2, b2, g2 = self.bend(asked)[:, None].chunk(6, -1)  # (B, 1, D) each
        B, T, D = x.shape
        h = torch.addcmul(b1, F.layer_norm(x, (D,)), 1 + a1)
        q, k, v = self.qkv(h).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, D)
        x = torch.addcmul(x, g1, F.dropout(self.out(seen), self.dropout, self.training))
        h = torch.addcmul(b2, F.layer_norm(x, (D,)), 1 + a2)
        h = self.down(F.gelu(self.up(h), approximate="tanh"))
        return torch.addcmul(x, g2, F.dropout(h, self.dropout, self.training))


def _places(rows: int, columns: int, width: int) -> Tensor:
    """(rows · columns, width): a quarter each of sines and cosines of the row, and of the column."""
    quarter = width // 4
    falling = torch.exp(-math.log(10_000) * torch.arange(quarter) / quarter)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten()[:, None] * falling for place in (row, column)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)
