"""Rows of logits as everything between a network and a token sees them, and copies with -inf for what may not come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Logits", "Tokens", "only", "without"]

Logits = NDArray[np.float32]  # (V,) or (R, V), in the memory of the processor
Tokens = NDArray[np.int64]  # (N,) ids


def without(logits: Logits, tokens: Tokens) -> Logits:
    """-inf for `tokens`."""
    narrowed = logits.copy()
    narrowed[tokens] = -np.inf
    return narrowed


def only(logits: Logits, allowed: NDArray[np.bool_]) -> Logits:
    """-inf for all but the `allowed` (V,)."""
    return np.where(allowed, logits, np.float32(-np.inf))
