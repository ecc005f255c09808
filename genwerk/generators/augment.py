"""Changes of pictures that a gradient passes through, so that a critic of few pictures does not learn them by heart.

Source: Zhao et al. (2020), Differentiable augmentation for data-efficient GAN training, section 3.2.

    shift    by up to an eighth of a side, nothing where it comes from outside
    cutout   a square of half a side is emptied
    colour   lighter or darker, more or less saturated, more or less contrast
    flip     left and right, for half of them

Every picture is changed in its own way, by torch's global generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["augment"]


def augment(x: Tensor, ways: Sequence[str]) -> Tensor:
    """(B, C, H, W) from -1 to 1, to the same, changed in these ways, one after the other."""
    for way in ways:
        x = _WAYS[way](x)
    return x


def _shift(x: Tensor) -> Tensor:
    B, _, H, W = x.shape
    most = (H // 8, W // 8)
    down, right = (torch.randint(0, 2 * size + 1, (B, 1, 1), device=x.device) for size in most)
    padded = F.pad(x + 1.0, (most[1], most[1], most[0], most[0])) - 1.0  # what comes from outside is dark
    rows = torch.arange(H, device=x.device)[None, :, None] + down
    columns = torch.arange(W, device=x.device)[None, None, :] + right
    picture = torch.arange(B, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picture, rows, columns].permute(0, 3, 1, 2)


def _cutout(x: Tensor) -> Tensor:
    B, _, H, W = x.shape
    top, left = (torch.randint(0, size // 2 + 1, (B, 1, 1, 1), device=x.device) for size in (H, W))
    row = torch.arange(H, device=x.device)[None, None, :, None]
    column = torch.arange(W, device=x.device)[None, None, None, :]
    cut = (row >= top) & (row < top + H // 2) & (column >= left) & (column < left + W // 2)
    return x.masked_fill(cut, 0.0)


def _colour(x: Tensor) -> Tensor:
    light, colour, contrast = torch.rand(3, len(x), 1, 1, 1, device=x.device).unbind()
    x = x + light - 0.5
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * 2 * colour
    middle = x.mean((1, 2, 3), keepdim=True)
    return middle + (x - middle) * (contrast + 0.5)


def _flip(x: Tensor) -> Tensor:
    turned = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(turned, x.flip(3), x)


_WAYS: Mapping[str, Callable[[Tensor], Tensor]] = {"shift": _shift, "cutout": _cutout, "colour": _colour, "flip": _flip}
