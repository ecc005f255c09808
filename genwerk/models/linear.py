"""A linear map that holds one weight for several named parts (q, k and v; gate and up), with optional adapters.

    y = x W^T + b,   W = [W_1; W_2; ...]  stacked along the output

At batch 1 on a CPU each operator costs more than its arithmetic, so parts that read the same input share one product.
On disk every part keeps the name it has in Hugging Face directories; `rows` says where it lies in the stacked weight.
An active adapter (models/lora.py) adds its own two products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Linear"]


class Linear(nn.Module):
    """(..., d_in) -> (..., sum of the parts' sizes). `parts` maps a part's name to its output size, in order."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, d_in: int, parts: Mapping[str, int], *, bias: bool = False) -> None:
        super().__init__()
        self.d_in, self.d_out = d_in, sum(parts.values())
        self.rows: dict[str, slice] = {}
        start = 0
        for name, size in parts.items():
            self.rows[name] = slice(start, start + size)
            start += size
        self.weight = nn.Parameter(torch.empty(self.d_out, d_in))
        self.register_parameter("bias", nn.Parameter(torch.empty(self.d_out)) if bias else None)
        self.adapters = nn.ModuleDict()
        self.active: Callable[[Tensor], Tensor] | None = None  # the adapter in use: x -> what is added to y

    def initialise(self, std: float) -> None:
        """Draw the weight from N(0, std) with torch's global generator; the bias is zero."""
        nn.init.normal_(self.weight, std=std)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        return y if self.active is None else y + self.active(x)

    def extra_repr(self) -> str:
        parts = ", ".join(f"{name}={rows.stop - rows.start}" for name, rows in self.rows.items())
        return f"{self.d_in} -> {parts}, bias={self.bias is not None}"
