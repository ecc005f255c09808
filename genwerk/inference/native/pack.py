"""Weights in the order the kernels read them.

A matrix (N outputs, K inputs) is cut into panels of 32 outputs; a panel is read front to back while one input after the
other is multiplied, so each weight is touched once and no lane waits for another:

    float32   [N / 32][K][32]
    int8      [N / 32][K' / 4][32][4] as unsigned bytes (whole number + 128), one scale per output, K' a multiple of 64:
              turned(W) = scale · (byte - 128)

    int4      [N / 32][K / 32][640]: 512 bytes of half bytes, then scale and lowest value of the 32 outputs as float16,
              W = lowest + scale · half byte, in groups of 32 inputs: what GGUF's Q4_1 holds

    turned(W)   each 64 inputs times the Hadamard matrix H / 8, as the kernels turn activations. H / 8 is orthogonal, so
                products stay as they are, while outliers are spread over 64 numbers and rounding loses less: with one
                scale per row of activations half of what scales per 32 inputs lose unturned (docs/decisions/0008).
                Source: Ashkboos et al. (2024), QuaRot; here within 64 inputs, and nothing is folded into the network.

What is no multiple of 32 is filled with zeros, which change no sum. Heads are filled up each for itself, and a panel of
gates is followed by the panel of ups that it multiplies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from genwerk.inference.native.layout import PANEL, TURNED, head_size
from genwerk.models.decoder_config import DecoderConfig

__all__ = ["Arrangement", "Grid", "Packing", "fill", "pack", "turn", "widest_grid"]


class Packing(NamedTuple):
    """One matrix as the kernels read it: `data` in panels, `scale` per output (int8), `bias` where there is one."""

    data: Tensor
    scale: Tensor | None
    bias: Tensor | None


class Grid(NamedTuple):
    """The values weights (N, K) may take: lowest + scale · whole number.

    int8   of the turned weights: scale (N,), no lowest; whole numbers -127 .. 127
    int4   scale and lowest (N, K / 32) that float16 holds; whole numbers 0 .. 15
    """

    scale: Tensor
    lowest: Tensor | None = None


def widest_grid(weight: Tensor, precision: str) -> Grid:
    """The grid that reaches every weight of (N, K), K a multiple of 32 (int8: already turned): what `pack` takes where
    it is given none."""
    if precision == "int8":
        return Grid(weight.abs().amax(1) / 127)  # 0 where all weights are: so is the output, to the last bit
    groups = weight.view(weight.shape[0], -1, PANEL)
    lowest = groups.amin(-1).half().float()
    return Grid(((groups.amax(-1) - lowest) / 15).half().float(), lowest)


def turn(rows: Tensor) -> Tensor:
    """(N, K) -> (N, K'): filled up to a multiple of 64, each 64 numbers times H / 8, which undoes itself."""
    rows = fill(rows, 1, TURNED)
    for stride in (32, 16, 8, 4, 2, 1):
        left, right = rows.view(len(rows), -1, 2, stride).unbind(2)
        rows = torch.stack((left + right, left - right), 2).flatten(1)
    return rows / math.sqrt(TURNED)


def pack(weight: Tensor, bias: Tensor | None, precision: str, grid: Grid | None = None) -> Packing:
    """Pack (N, K) float32, filled up to multiples of 32, each weight as the nearest value of `grid`."""
    weight = fill(fill(weight.detach().float(), 0), 1)
    bias = None if bias is None else fill(bias.detach().float(), 0).clone()
    if precision == "float32":
        return Packing(weight.view(-1, PANEL, weight.shape[1]).transpose(1, 2).contiguous(), None, bias)
    weight = turn(weight) if precision == "int8" else weight
    grid = grid or widest_grid(weight, precision)
    if precision == "int4":
        return Packing(_half_bytes(weight, grid), None, bias)
    nonzero = grid.scale.clamp_min(torch.finfo(torch.float32).tiny)
    whole = (weight / nonzero[:, None]).round().clamp(-127, 127).to(torch.int16).add_(128).to(torch.uint8)
    panels = whole.view(-1, PANEL, whole.shape[1] // 4, 4).transpose(1, 2)  # (N / 32, K' / 4, 32, 4)
    return Packing(panels.contiguous(), grid.scale, bias)


def _half_bytes(weight: Tensor, grid: Grid) -> Tensor:
    """(N, K) -> (N / 32, K / 32, 640) bytes."""
    groups = weight.view(-1, PANEL, weight.shape[1] // PANEL, PANEL).transpose(1, 2)  # (P, G, N in P, K in G)
    assert grid.lowest is not None
    step, lowest = (
        one.view(-1, PANEL, one.shape[1]).transpose(1, 2).unsqueeze(-1) for one in (grid.scale, grid.lowest)
    )
    whole = ((groups - lowest) / step.clamp_min(1e-12)).round().clamp(0, 15).to(torch.uint8)
    low, high = whole.view(*whole.shape[:-1], 2, 4, 4).unbind(-3)  # (P, G, 32, 4, 4) each
    halves = (low | high << 4).transpose(-3, -2)  # (P, G, 4, 32, 4)
    facts = torch.cat((step, lowest), -2).squeeze(-1).half().contiguous()  # (P, G, 64) float16
    return torch.cat((halves.flatten(2), facts.view(torch.uint8)), -1).contiguous()


def fill(tensor: Tensor, axis: int, multiple: int = PANEL) -> Tensor:
    """Zeros up to a multiple along `axis`."""
    missing = -tensor.shape[axis] % multiple
    return F.pad(tensor, [0, 0] * (tensor.ndim - 1 - axis) + [0, missing]) if missing else tensor


@dataclass(frozen=True)
class Arrangement:
    """Where outputs and inputs of each matrix go. The methods take a tensor whose first axis is that of the outputs
    (or of the inputs) and return it filled up and reordered."""

    config: DecoderConfig

    def heads(self, rows: Tensor) -> Tensor:
        size = self.config.head_dim
        return fill(rows.reshape(-1, size, *rows.shape[1:]), 1, head_size(self.config)).flatten(0, 1)

    def gate_up(self, rows: Tensor) -> Tensor:
        gate, up = (fill(part, 0).reshape(-1, PANEL, *rows.shape[1:]) for part in rows.chunk(2))
        return torch.stack((gate, up), 1).flatten(0, 2)

    def outputs(self, name: str, rows: Tensor) -> Tensor:
        kind = name.rpartition(".")[2]  # of an expert: `expert-3.gate_up`
        return {"qkv": self.heads, "gate_up": self.gate_up}.get(kind, lambda same: same)(rows)

    def inputs(self, name: str, rows: Tensor) -> Tensor:
        return self.heads(rows) if name == "out" else rows

    def matrix(self, name: str, weight: Tensor) -> Tensor:
        """(N, K) -> filled up and reordered along both axes, as it is packed."""
        return fill(fill(self.inputs(name, self.outputs(name, weight).t()).t(), 0), 1)

    def restore(self, name: str, arranged: Tensor, shape: tuple[int, int]) -> Tensor:
        """The reverse of `matrix`: back to (N, K) = `shape`."""
        rows = self.restore_outputs(name, arranged, shape[0])
        return _scatter(self.inputs(name, torch.arange(1, shape[1] + 1)), rows.t(), shape[1]).t().contiguous()

    def restore_outputs(self, name: str, arranged: Tensor, size: int) -> Tensor:
        """The reverse of `outputs`, and of filling up after it."""
        return _scatter(self.outputs(name, torch.arange(1, size + 1)), arranged, size)


def _scatter(places: Tensor, rows: Tensor, size: int) -> Tensor:
    """Row i goes to place `places[i]`, counted from 1; 0 says that it is filling, as what lies behind."""
    places = fill(places, 0)
    found = rows.new_empty(size, *rows.shape[1:])
    found[places[places > 0] - 1] = rows[: len(places)][places > 0]
    return found
