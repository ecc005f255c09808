"""Rotary position embedding: queries and keys are turned by an angle that grows with their position.

Sources: Su et al. (2021), RoFormer; for long contexts Chen et al. (2023), linear interpolation; bloc97 (2023), dynamic
NTK scaling; Peng et al. (2023), YaRN; Llama 3.1 (Meta, 2024).

    x'_i         = x_i cos(m θ_i) - x_{i+D/2} sin(m θ_i)
    x'_{i+D/2}   = x_{i+D/2} cos(m θ_i) + x_i sin(m θ_i),      θ_i = base^(-2i/D),  i < D/2

m position of the token; D size of a head.

Chosen:   the half-rotation layout of Hugging Face weights; tables in float32, grown on demand, sliced once per step and
          shared by all layers; the minus sign lies in the table, so a rotation is a roll and two products. Dynamic NTK
          stretches only texts longer than the model's positions, which are refused, so it is the plain rotation here.
Left out: dynamic NTK beyond the model's positions, and LongRoPE (refused when read): their frequencies depend on how
          long the text has become, so what is cached would have to be turned again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SCALINGS", "RopeScaling", "RopeTable", "inverse_frequencies", "rotate"]


SCALINGS = ("linear", "dynamic", "yarn", "llama3")


@dataclass(frozen=True)
class RopeScaling:
    """How frequencies are stretched for long contexts.

    kind                              one of SCALINGS
    low_freq_factor, high_freq_factor llama3's: waves with fewer turns are stretched, with more are kept
    original_max_positions            of llama3 and yarn: the context before it was stretched
    attention_factor                  yarn's: queries and keys are this much larger
    beta_fast, beta_slow              yarn's: turns within the original context, as high and low above
    truncate                          yarn's: whether the blend begins and ends at whole frequencies
    """

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True


def inverse_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None = None) -> Tensor:
    """θ_i as (D/2,) float32 on the CPU."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64, device="cpu").float() / head_dim
    frequencies = 1.0 / (theta**exponents)
    if scaling is None or scaling.kind == "dynamic":
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    kept = _kept_by_yarn(head_dim, theta, scaling) if scaling.kind == "yarn" else _kept_by_llama3(frequencies, scaling)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies


def _kept_by_llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """1 where a wave is short and stays as it is, 0 where it is stretched by `factor`, (D/2,)."""
    turns = scaling.original_max_positions / (2 * math.pi / frequencies)
    span = scaling.high_freq_factor - scaling.low_freq_factor
    return ((turns - scaling.low_freq_factor) / span).clamp(0.0, 1.0)


def _kept_by_yarn(head_dim: int, theta: float, scaling: RopeScaling) -> Tensor:
    """As above: a straight line between the frequencies that turn `beta_fast` and `beta_slow` times."""

    def index_of(turns: float) -> float:
        return head_dim * math.log(scaling.original_max_positions / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = index_of(scaling.beta_fast), index_of(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    span = high - low if high != low else 0.001
    return 1 - ((torch.arange(head_dim // 2, dtype=torch.float32, device="cpu") - low) / span).clamp(0, 1)


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
        size_of = 1.0 if self._scaling is None else self._scaling.attention_factor
        cos, sin = angles.cos() * size_of, angles.sin() * size_of
        self._cos = torch.cat((cos, cos), -1)[:, None].to(like)  # (S, 1, D)
        self._sin = torch.cat((-sin, sin), -1)[:, None].to(like)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (B, T, H, D) by the rows (T, 1, D) of its positions."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
