"""GPTQ: round a matrix column by column, and let the columns still to come make up for each error.

Source: Frantar et al. (2022), GPTQ, eqs. 2 and 3, algorithm 1; Frantar and Alistarh (2022), Optimal Brain Compression.

    minimise  || W X - Q X ||²  =  tr (W - Q) H (W - Q)^T,      H = X X^T + λ I
    U = upper Cholesky factor of H^-1
    for each column j:   q_j = nearest(w_j),   e = (w_j - q_j) / U_jj,   w_k <- w_k - e U_jk  for all k > j

W, Q  (N outputs, K inputs), before and after (int8: already turned, as X is, see native/pack.py); the values Q may
      take are a `Grid`: a scale per output (int8), or scale and lowest value per group of 32 inputs (int4)
X     (K, T) inputs of calibration text; only X X^T, the gram matrix, is ever held
λ     `damping` times the mean of the diagonal, which keeps H invertible
U_jj  1 / U_jj² is what an error of column j costs once all later columns have made up for it

Chosen:   updates of later columns are gathered over blocks of 128, as in the paper; a group's grid is fitted when its
          first column is reached, to the weights as earlier errors have moved them, with 1 / U_jj² as importance
          (grids.py); Cholesky in float64; a column whose input is always zero is rounded to the nearest value.
          With `act_order` columns go by falling H_jj and the grids are fitted before the first.
Left out: rounding that knows what rounded activations do to X; in int8, inputs that are no multiple of 64 lose what was
          chosen when they are turned back, and then the nearest values are kept where they are no worse.
Try it:   genwerk quantise --model MODEL --dataset DATASET --precision int4
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genwerk.core.errors import ModelError
from genwerk.inference.native.layout import PANEL
from genwerk.inference.native.pack import Grid
from genwerk.inference.quantisation.grids import fit_half_bytes, fitted_grid, nearest, to_bytes, to_half_bytes

__all__ = ["Rounded", "gptq", "round_nearest"]

_BLOCK = 128


class Rounded(NamedTuple):
    """Weights (N, K) that lie on `grid`."""

    weight: Tensor
    grid: Grid


def round_nearest(weight: Tensor, grid: Grid) -> Rounded:
    """Each weight by itself: what GPTQ is compared with."""
    return Rounded(nearest(weight, grid), grid)


@torch.no_grad()
def gptq(
    weight: Tensor,
    gram: Tensor,
    precision: str,
    *,
    damping: float = 0.01,
    act_order: bool = False,
    block: int = _BLOCK,
) -> Rounded:
    """Round (N, K) float32, K a multiple of 32, for inputs whose X X^T is `gram` (K, K).

    Raises ModelError where the inputs are not numbers.
    """
    gram = gram.double()
    diagonal = gram.diagonal()
    order = diagonal.argsort(descending=True, stable=True) if act_order else torch.arange(len(gram))
    factor = _factor(gram[order][:, order], damping)  # (K, K)
    importance = torch.empty_like(diagonal).index_copy_(0, order, factor.diagonal().square().reciprocal()).float()
    whole = precision == "int8" or act_order
    grid = fitted_grid(weight, importance, precision) if whole else _empty_grid(weight)
    columns = weight.t()[order].contiguous()  # (K, N)
    _round_columns(columns, order.tolist(), factor.float(), grid, None if whole else importance, block)
    return Rounded(torch.empty_like(columns).index_copy_(0, order, columns).t().contiguous(), grid)


def _round_columns(
    columns: Tensor, order: list[int], factor: Tensor, grid: Grid, importance: Tensor | None, block: int
) -> None:
    """Round (K, N) in place. With `importance` a group's place in `grid` is filled when its first column comes."""
    for start in range(0, len(columns), block):
        stop = min(start + block, len(columns))
        errors = torch.empty_like(columns[start:stop])
        for j in range(start, stop):
            if importance is not None and j % PANEL == 0:
                group = slice(j, j + PANEL)
                fitted = fit_half_bytes(columns[group].t(), importance[group])
                assert grid.lowest is not None and block % PANEL == 0
                grid.scale[:, j // PANEL], grid.lowest[:, j // PANEL] = fitted
            value = _nearest_column(columns[j], order[j], grid)
            errors[j - start] = (columns[j] - value) / factor[j, j]
            columns[j] = value
            columns[j + 1 : stop].addr_(factor[j, j + 1 : stop], errors[j - start], alpha=-1)
        columns[stop:].addmm_(factor[start:stop, stop:].t(), errors, alpha=-1)


def _nearest_column(column: Tensor, place: int, grid: Grid) -> Tensor:
    if grid.lowest is None:
        return to_bytes(column, grid.scale)
    return to_half_bytes(column, grid.scale[:, place // PANEL], grid.lowest[:, place // PANEL])


def _factor(gram: Tensor, damping: float) -> Tensor:
    """Upper Cholesky factor of the inverse of the damped `gram`, which is left unchanged."""
    diagonal = gram.diagonal()
    damped = gram + torch.diag(damping * diagonal.mean() + (diagonal == 0))
    lower, failed = torch.linalg.cholesky_ex(damped)
    inverse = torch.cholesky_inverse(lower)
    factor: Tensor
    factor, failed_too = torch.linalg.cholesky_ex(inverse, upper=True)
    if failed or failed_too or not factor.isfinite().all():
        raise ModelError(
            "the inputs of a weight matrix have no usable second moments",
            remedy="Give more calibration text or more `damping`. If it stays, weights of the model are not numbers.",
        )
    return factor


def _empty_grid(weight: Tensor) -> Grid:
    shape = (len(weight), weight.shape[1] // PANEL)
    return Grid(weight.new_zeros(shape), weight.new_zeros(shape))
