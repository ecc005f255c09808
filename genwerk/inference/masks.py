"""Copies of logits (V,) with -inf for tokens that may not come next.

On a CPU they are made by NumPy: for one row PyTorch takes ten times as long, because it wakes its threads.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["is_plain", "only", "without"]


def without(logits: Tensor, tokens: Tensor) -> Tensor:
    """-inf for `tokens` (int64)."""
    if not is_plain(logits):
        return logits.index_fill(0, tokens.to(logits.device), -torch.inf)
    narrowed = logits.numpy().copy()
    narrowed[tokens.numpy()] = -np.inf
    return torch.from_numpy(narrowed)


def only(logits: Tensor, allowed: NDArray[np.bool_]) -> Tensor:
    """-inf for all but the `allowed` (V,)."""
    if not is_plain(logits):
        return logits.masked_fill(torch.from_numpy(~allowed).to(logits.device), -torch.inf)
    return torch.from_numpy(np.where(allowed, logits.numpy(), np.float32(-np.inf)))


def is_plain(logits: Tensor) -> bool:
    """Whether NumPy can take the row as it is."""
    return logits.device.type == "cpu" and logits.dtype == torch.float32 and not logits.requires_grad
