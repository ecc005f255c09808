"""Where the values lie that a rounded weight may take: scale and lowest value by search, not from the extremes alone.

    minimise  sum_j h_j ( w_j - lowest - scale · q_j )²      q_j the whole number nearest to (w_j - lowest) / scale

w_j   weights that share a scale: a group of 32 inputs of an output (int4), or all of its inputs (int8, no lowest)
h_j   how dearly an error of input j is paid, (K,)

Chosen:   the range from smallest to largest weight is narrowed in steps, since a wider grid for one outlier is coarser
          for all others; at each width, scale and lowest value are fitted again by weighted least squares to the whole
          numbers they gave, as often as that helps; the best of all is kept, so the widest grid is never beaten by it.
Left out: a joint search over groups.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genwerk.inference.native.layout import PANEL
from genwerk.inference.native.pack import Grid, widest_grid

__all__ = ["fit_bytes", "fit_half_bytes", "fitted_grid", "nearest", "to_bytes", "to_half_bytes"]

_WIDTHS = (1.0, 0.9, 0.8)
_REFITS = 2
_TINY, _TINIEST = 1e-12, torch.finfo(torch.float32).tiny


def fitted_grid(weight: Tensor, importance: Tensor, precision: str) -> Grid:
    """The grid of (N, K), K a multiple of 32, with `importance` (K,)."""
    if precision == "int8":
        return fit_bytes(weight, importance)
    fits = [
        fit_half_bytes(weight[:, at : at + PANEL], importance[at : at + PANEL])
        for at in range(0, weight.shape[1], PANEL)
    ]
    return Grid(torch.stack([scale for scale, _ in fits], 1), torch.stack([lowest for _, lowest in fits], 1))


def nearest(weight: Tensor, grid: Grid) -> Tensor:
    """Each of (N, K) moved to the nearest value of `grid`."""
    if grid.lowest is None:
        return to_bytes(weight, grid.scale[:, None])
    groups = weight.view(len(weight), -1, PANEL)
    return to_half_bytes(groups, grid.scale[..., None], grid.lowest[..., None]).view_as(weight)


def to_bytes(values: Tensor, scale: Tensor) -> Tensor:
    """Nearest scale · {-127 .. 127}."""
    return (values / scale.clamp_min(_TINIEST)).round_().clamp_(-127, 127).mul_(scale)


def to_half_bytes(values: Tensor, scale: Tensor, lowest: Tensor) -> Tensor:
    """Nearest lowest + scale · {0 .. 15}."""
    return torch.addcmul(lowest, whole_of(values, scale, lowest), scale)


def whole_of(values: Tensor, scale: Tensor, lowest: Tensor) -> Tensor:
    return ((values - lowest) / scale.clamp_min(_TINY)).round_().clamp_(0, 15)


def fit_bytes(weight: Tensor, importance: Tensor) -> Grid:
    """One scale per output of (N, K): the best of the narrowed ranges."""
    widest = widest_grid(weight, "int8").scale
    best, least = widest, torch.full_like(widest, torch.inf)
    for width in _WIDTHS:
        scale = widest * width
        loss = ((weight - nearest(weight, Grid(scale))).square() * importance).sum(1)
        best, least = torch.where(loss < least, scale, best), torch.minimum(loss, least)
    return Grid(best)


def fit_half_bytes(values: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and lowest value, (N,) each and exact in float16, of a group (N, 32)."""
    widest = widest_grid(values, "int4")
    assert widest.lowest is not None
    scale, lowest = widest.scale, widest.lowest  # (N, 1) each
    middle, best = lowest + 7.5 * scale, [scale, lowest]
    least = _loss(values, importance, scale, lowest)
    for width in _WIDTHS:
        tried = (scale * width).half().float()
        found = [tried, (middle - 7.5 * tried).half().float()]
        for _ in range(_REFITS):
            found = _refit(values, importance, *found)
            loss = _loss(values, importance, *found)
            better = loss < least
            best = [torch.where(better, new, old) for new, old in zip(found, best, strict=True)]
            least = torch.where(better, loss, least)
    return best[0][:, 0], best[1][:, 0]


def _loss(values: Tensor, importance: Tensor, scale: Tensor, lowest: Tensor) -> Tensor:
    """(N, 1)."""
    return (values - to_half_bytes(values, scale, lowest)).square_() @ importance[:, None]


def _refit(values: Tensor, importance: Tensor, scale: Tensor, lowest: Tensor) -> list[Tensor]:
    """Weighted least squares of the values on the whole numbers they now have; (N, 1) each."""
    whole = whole_of(values, scale, lowest)
    total = importance.sum().clamp_min(_TINY)
    h = importance[:, None] / total  # (32, 1)
    mean_q, mean_w = whole @ h, values @ h
    q, w = whole - mean_q, values - mean_w
    spread, shared = q.square() @ h, (q * w) @ h
    fitted = torch.where(spread > 1e-6, shared / spread.clamp_min(1e-6), scale).clamp_min(0).half().float()
    return [fitted, (mean_w - fitted * mean_q).half().float()]
