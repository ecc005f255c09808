"""Rotary position embedding: queries and keys are turned by an angle that grows with their position.

Source: Su et al. (2021), RoFormer; the frequency scaling of Llama 3.1 (Meta, 2024) and linear interpolation
(Chen et al., 2023).

    x'_i         = x_i cos(m θ_i) - x_{i+D/2} sin(m θ_i)
    x'_{i+D/2}   = x_{i+D/2} cos(m θ_i) + x_i sin(m θ_i),      θ_i = base^(-2i/D),  i < D/2

m position of the token; D size of a head.

Chosen:   the half-rotation layout of Hugging Face weights; tables in float32, grown on demand, sliced once per step and
          shared by all layers; the minus sign lies in the table, so a rotation is a roll and two products.
Left out: YaRN, dynamic NTK and LongRoPE (refused when read).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RopeScaling", "RopeTable", "inverse_frequencies", "rotate"]


@dataclass(frozen=True)
class RopeScaling:
    """How frequencies are stretched for long contexts. `kind` is linear or llama3; the last three are llama3's."""

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192


def inverse_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None = None) -> Tensor:
    """θ_i as (D/2,) float32 on the CPU."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64, device="cpu").float() / head_dim
    frequencies = 1.0 / (theta**exponents)
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    # Llama 3.1: long waves are stretched by `factor`, short ones kept, those between are blended.
    wavelength = 2 * math.pi / frequencies
    turns = scaling.original_max_positions / wavelength
    span = scaling.high_freq_factor - scaling.low_freq_factor
    blend = ((turns - scaling.low_freq_factor) / span).clamp(0.0, 1.0)
    return (1 - blend) * frequencies / scaling.factor + blend * frequencies


class RopeTable:
    """Cosines and signed sines of positions 0..n, grown by doubling. Not a module: it is derived, never saved."""

    def __init__(self, head_dim: int, theta: float, scaling: RopeScaling | None) -> None:
        self._head_dim, self._theta, self._scaling = head_dim, theta, scaling
        self._cos = self._sin = torch.empty(0, 1, head_dim, device="cpu")

    def rows(self, start: int, stop: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """(T, 1, D) each, for positions start..stop, in the device and dtype of `like`."""
        known = self._cos
        if known.shape[0] < stop or known.device != like.device or known.dtype != like.dtype:
            self._grow(max(stop, 2 * known.shape[0], 256), like)
        return self._cos[start:stop], self._sin[start:stop]

    @torch.inference_mode(False)
    @torch.no_grad()
    def _grow(self, size: int, like: Tensor) -> None:
        frequencies = inverse_frequencies(self._head_dim, self._theta, self._scaling)
        angles = torch.arange(size, dtype=torch.float32, device="cpu")[:, None] * frequencies  # (S, D/2)
        cos, sin = angles.cos(), angles.sin()
        self._cos = torch.cat((cos, cos), -1)[:, None].to(like)  # (S, 1, D)
        self._sin = torch.cat((-sin, sin), -1)[:, None].to(like)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (B, T, H, D) by the rows (T, 1, D) of its positions."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
