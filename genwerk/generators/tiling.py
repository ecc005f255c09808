"""Tiles: what a network makes of a large picture, part by part, without a seam between the parts.

Source: Bar-Tal et al. (2023), MultiDiffusion, eq. 5, for velocities in place of pictures.

    v(x) = sum_i w_i v(x_i) / sum_i w_i          x_i: what of x lies in tile i, the same x for all of them
    w_i  = u(row) u(column),   u(k) = sin²( π (k + 1/2) / (2 overlap) ) up to `overlap` from a tile's edge, 1 within

Every step of a solver moves one picture, of which all tiles are parts, so that they agree where they meet.

Chosen:   tiles are spread evenly and end with the picture; weights are divided by their sum along each side beforehand,
          which is the same as dividing by the sum over tiles; a few tiles are computed together, so that beside the
          picture memory is that of those few.
Left out: tiles of several sizes, tiles that move from step to step.
Try it:   pytest tests/generators/test_tiling.py
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from genwerk.core.errors import ModelError

__all__ = ["Strip", "blend", "reflected", "strips"]


class Strip(NamedTuple):
    """A tile along one side: which pixels, and how much each counts; over all strips a pixel counts 1."""

    place: slice
    weights: Tensor  # (tile,)


def strips(length: int, tile: int, overlap: int, *, step: int = 1) -> list[Strip]:
    """Tiles along a side of `length` pixels, each beginning at a multiple of `step`.

    Raises ModelError where the side is shorter than a tile, or where no tile gets on.
    """
    if length < tile or not 0 <= overlap < tile or length % step or tile % step or overlap % step:
        what = f"{length} pixels cannot be covered by tiles of {tile} that overlap by {overlap}, in steps of {step}"
        raise ModelError(what, remedy="An overlap is shorter than a tile, and a tile no longer than the picture.")
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    starts = [round(index * (length - tile) / max(1, count - 1) / step) * step for index in range(count)]
    window = _window(tile, overlap)
    total = torch.zeros(length)
    for start in starts:
        total[start : start + tile] += window
    places = [slice(start, start + tile) for start in starts]
    return [Strip(place, window / total[place]) for place in places]


def blend(
    work: Callable[..., Tensor],
    pictures: Sequence[Tensor],
    down: Sequence[Strip],
    across: Sequence[Strip],
    together: int,
) -> Tensor:
    """What `work` makes of `pictures`, each (B, C, H, W), tile by tile: (B, C, H, W) like the first of them.

    work       takes the same tiles of each picture, (N B, C, T, T), one tile after the other
    together   tiles in one call, of all B
    """
    whole, tiles = torch.zeros_like(pictures[0]), list(product(down, across))
    each = max(1, together // len(whole))
    for first in range(0, len(tiles), each):
        some = tiles[first : first + each]
        parts = [torch.cat([one[..., row.place, column.place] for row, column in some]) for one in pictures]
        for (row, column), made in zip(some, work(*parts).chunk(len(some)), strict=True):
            window = (row.weights[:, None] * column.weights).to(made)
            whole[..., row.place, column.place] += window * made
    return whole


def reflected(x: Tensor, height: int, width: int) -> Tensor:
    """(…, H, W) to at least so many rows and columns: what is missing below and on the right is a reflection."""
    rows, columns = (_there_and_back(have, want) for have, want in zip(x.shape[-2:], (height, width), strict=True))
    return x[..., rows.to(x.device), :][..., columns.to(x.device)]


def _there_and_back(have: int, want: int) -> Tensor:
    """0 … have - 1, have - 1 … 0, 0 … as far as `want`."""
    place = torch.arange(max(have, want)) % (2 * have)
    return torch.minimum(place, 2 * have - 1 - place)


def _window(tile: int, overlap: int) -> Tensor:
    from_edge = torch.arange(tile) + 0.5
    from_edge = torch.minimum(from_edge, tile - from_edge)
    return torch.sin(math.pi / 2 * (from_edge / max(overlap, 0.5)).clamp(max=1.0)).square()
