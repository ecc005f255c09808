"""Rotary position embedding: queries and keys are turned by an angle that grows with their position.

Sources: Su et al. (2021), RoFormer; for long contexts Chen et al. (2023), linear interpolation; bloc97 (2023), dynamic
NTK scaling; Peng et al. (2023), YaRN; Llama 3.1 (Meta, 2024).

    x'_i         = x_i cos(m θ_i) - x_{i+D/2} sin(m θ_i)
    x'_{i+D/2}   = x_{i+D/2} cos(m θ_i) + x_i sin(m θ_i),      θ_i = base^(-2i/D),  i < D/2

m position of the token; D size of a head.

Chosen:   the half-rotation layout of Hugging Face weights. Angles are float32, as every trainer's are; their cosines
          and sines are computed in float64 and rounded, so networks in PyTorch (rope_table.py) and in the kernels
          turn by the same numbers on every processor. Dynamic NTK stretches only texts longer than the model's
          positions, which are refused, so it is the plain rotation here.
Left out: dynamic NTK beyond the model's positions, and LongRoPE (refused when read): their frequencies depend on how
          long the text has become, so what is cached would have to be turned again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCALINGS", "RopeScaling", "Turns", "inverse_frequencies", "turns"]

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


class Turns(NamedTuple):
    """Cosines and sines of m θ_i, (S, D/2) float32 each."""

    cos: NDArray[np.float32]
    sin: NDArray[np.float32]


def turns(head_dim: int, theta: float, scaling: RopeScaling | None, positions: int) -> Turns:
    """Of positions 0 to `positions` - 1; times the attention factor where the scaling has one."""
    frequencies = inverse_frequencies(head_dim, theta, scaling)
    angles = np.arange(positions, dtype=np.float32)[:, None] * frequencies  # (S, D/2)
    size = 1.0 if scaling is None else scaling.attention_factor
    wide = angles.astype(np.float64)
    return Turns(*((wave(wide) * size).astype(np.float32) for wave in (np.cos, np.sin)))


def inverse_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None = None) -> NDArray[np.float32]:
    """θ_i, (D/2,)."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = (1.0 / np.power(theta, exponents.astype(np.float64)).astype(np.float32)).astype(np.float32)
    if scaling is None or scaling.kind == "dynamic":
        return frequencies
    if scaling.kind == "linear":
        return frequencies / np.float32(scaling.factor)
    kept = _kept_by_yarn(head_dim, theta, scaling) if scaling.kind == "yarn" else _kept_by_llama3(frequencies, scaling)
    blended: NDArray[np.float32] = (1 - kept) * frequencies / np.float32(scaling.factor) + kept * frequencies
    return blended


def _kept_by_llama3(frequencies: NDArray[np.float32], scaling: RopeScaling) -> NDArray[np.float32]:
    """1 where a wave is short and stays as it is, 0 where it is stretched by `factor`, (D/2,)."""
    turned = np.float32(scaling.original_max_positions) / (np.float32(2 * math.pi) / frequencies)
    span = np.float32(scaling.high_freq_factor - scaling.low_freq_factor)
    kept: NDArray[np.float32] = np.clip((turned - np.float32(scaling.low_freq_factor)) / span, 0.0, 1.0)
    return kept


def _kept_by_yarn(head_dim: int, theta: float, scaling: RopeScaling) -> NDArray[np.float32]:
    """As above: a straight line between the frequencies that turn `beta_fast` and `beta_slow` times."""

    def index_of(turned: float) -> float:
        return head_dim * math.log(scaling.original_max_positions / (turned * 2 * math.pi)) / (2 * math.log(theta))

    low, high = index_of(scaling.beta_fast), index_of(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    span = high - low if high != low else 0.001
    steps = np.arange(head_dim // 2, dtype=np.float32) - np.float32(low)
    kept: NDArray[np.float32] = 1 - np.clip(steps / np.float32(span), 0.0, 1.0)
    return kept
