"""A linear map whose rows come out the same to the bit, however many others are computed beside them.

    y = x W^T + b,   or  gelu(x W^T + b)

PyTorch's own product chooses how it adds up by the number of rows and threads. oneDNN's, with weights that were packed
once, adds up the inputs of every element in one order; only a single row goes another way, so it is computed twice.
Whether all of this holds on a processor is measured (`Encoder.steady`), not taken for granted.

Left out: adapters, training, other devices than the CPU (there the map stays what it was).
Try it:   pytest tests/models/test_encoder.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.models.linear import Linear

__all__ = ["SteadyLinear"]

_ROWS = 256  # what the packing is made for; any number may come


class SteadyLinear(nn.Module):
    """(R, d_in) -> (R, d_out). It keeps the packed weight alone: `linear` is not needed after."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        weight, self.bias = linear.weight.detach(), None if linear.bias is None else linear.bias.detach()
        packs = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS) if packs else None
        self._plain = None if packs else weight

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        if self._packed is None:
            assert self._plain is not None
            y = F.linear(x, self._plain, self.bias)
            return F.gelu(y) if gelu else y
        if len(x) == 1:
            return self(x.expand(2, -1), gelu=gelu)[:1]  # type: ignore[no-any-return]
        after, form = ("gelu", "none") if gelu else ("none", "")
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, after, [], form)
        return product
