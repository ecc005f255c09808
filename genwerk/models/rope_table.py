"""The turns of rotary position embedding (rope.py) as a network in PyTorch uses them.

Tables in the network's precision are grown on demand, sliced once per step and shared by all layers; the minus sign
lies in the table, so a rotation is a roll and two products.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genwerk.models.rope import RopeScaling, turns

__all__ = ["RopeTable", "rotate"]


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
        cos, sin = map(torch.from_numpy, turns(self._head_dim, self._theta, self._scaling, size))  # (S, D/2) each
        self._cos = torch.cat((cos, cos), -1)[:, None].to(like)  # (S, 1, D)
        self._sin = torch.cat((-sin, sin), -1)[:, None].to(like)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (B, T, H, D) by the rows (T, 1, D) of its positions."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
