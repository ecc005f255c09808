"""SmoothQuant: make activations easier to round by letting the weights carry part of their outliers.

Source: Xiao et al. (2022), SmoothQuant, eqs. 3 and 4.

    Y = (X diag(s)^-1) (diag(s) W^T),      s_j = max|X_j|^α / max|W_j|^(1 - α)

X_j  input j of a matrix over calibration text; W_j the weights that meet it, (N,)
s    (K,), positive; 1 / s is folded into whatever makes X, so the network computes the same function as before
α    how much of the difficulty goes to the weights: 0 evens out the weights' columns, 1 the activations'

    matrix    its inputs are made by          which is divided by s
    qkv       the norm before                 norm weight
    gate_up   the norm before                 norm weight
    out       attention over values           rows of v (a key head's rows serve its whole group: one s for all)
    down      silu(gate) · up                 rows of up

Chosen:   values and ups as well as norms; s is 1 where an input or its weights are always zero.
Left out: a search for α per layer.
Try it:   genwerk quantise --model MODEL --dataset DATASET --precision int8
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from genwerk.inference.native.packed_decoder import matrices
from genwerk.models.decoder import Block, Decoder
from genwerk.models.linear import Linear

__all__ = ["smooth", "smoothing_scales"]


def smoothing_scales(peaks: Tensor, reach: Tensor, alpha: float) -> Tensor:
    """s (K,) of inputs whose largest magnitudes are `peaks` (K,) and meet weights as large as `reach` (K,)."""
    return torch.where((peaks > 0) & (reach > 0), peaks.pow(alpha) / reach.pow(1 - alpha), 1.0)


@torch.no_grad()
def smooth(model: Decoder, peaks: Mapping[str, Tensor], alpha: float) -> None:
    """Fold s into the weights of a dense decoder in place; its function stays. `peaks` by name, as `3.qkv`, (K,)."""
    for layer, block in enumerate(model.layers):
        assert isinstance(block, Block)
        named = matrices(block)
        s = _value_scales(model, named["out"], peaks[f"{layer}.out"], alpha)
        _divide(named["qkv"], "v_proj", s)
        s = smoothing_scales(peaks[f"{layer}.down"], _reach(named["down"]), alpha)
        named["down"].weight.mul_(s)
        _divide(named["gate_up"], "up_proj", s)
        for name, norm in (("qkv", block.input_layernorm), ("gate_up", block.post_attention_layernorm)):
            s = smoothing_scales(peaks[f"{layer}.{name}"], _reach(named[name]), alpha)  # after v and up have changed
            named[name].weight.mul_(s)
            norm.weight.div_(s)


def _value_scales(model: Decoder, out: Linear, peaks: Tensor, alpha: float) -> Tensor:
    """Multiply the columns of `out`; returns s of the rows of v, (K heads · D,)."""
    config = model.config
    group, size = config.n_heads // config.n_kv_heads, config.head_dim
    heads = (config.n_kv_heads, group, size)  # query heads of one key head lie side by side
    most, reach = (one.view(heads).amax(1).flatten() for one in (peaks, _reach(out)))  # (K heads · D,) each
    s = smoothing_scales(most, reach, alpha)
    out.weight.mul_(s.view(config.n_kv_heads, 1, size).expand(heads).flatten())
    return s


def _reach(linear: Linear) -> Tensor:
    return linear.weight.abs().amax(0)


def _divide(linear: Linear, part: str, s: Tensor) -> None:
    rows = linear.rows[part]
    linear.weight[rows] /= s[:, None]
    if linear.bias is not None:
        linear.bias[rows] /= s
