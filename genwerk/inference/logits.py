"""Rows of logits as everything between a network and a token sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Logits", "Tokens"]

Logits = NDArray[np.float32]  # (V,) or (R, V), in the memory of the processor
Tokens = NDArray[np.int64]  # (N,) ids
