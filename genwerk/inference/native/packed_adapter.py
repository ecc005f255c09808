"""An adapter as the kernels read it: two products in float32 for every weight that it changes, packed as matrices are.

y += b (a x)      a: (r, K), b: (N, r), under the names `3.qkv.a` and `3.qkv.b`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from genwerk.inference.native.library import NativeUnavailableError
from genwerk.inference.native.pack import Arrangement, pack
from genwerk.inference.native.packed_decoder import matrices, named_arrays
from genwerk.inference.native.weights import MATRICES
from genwerk.models.arrays import Array
from genwerk.models.decoder import Decoder
from genwerk.models.decoder_config import DecoderConfig
from genwerk.models.huggingface import empty_decoder
from genwerk.models.linear import Linear
from genwerk.models.lora import adapter_products, load_adapter

__all__ = ["pack_adapter", "read_adapter"]


def read_adapter(config: DecoderConfig, name: str, path: Path) -> Mapping[str, Array]:
    """Pack an adapter in peft's format for a network of this shape. Raises ModelError for files that do not fit."""
    with torch.inference_mode(False):
        model = empty_decoder(config)  # its weights are never read, so they take no memory
        load_adapter(model, name, path)
        return pack_adapter(model, name)


def pack_adapter(model: Decoder, name: str) -> Mapping[str, Array]:
    """Pack the adapter `name` of `model`. Raises NativeUnavailableError for one that only PyTorch can run."""
    arrange, packed = Arrangement(model.config), dict[str, Array]()
    for layer, block in enumerate(model.layers):
        for matrix, linear in _adapted(block, name).items():
            if (products := adapter_products(linear, name)) is None:
                continue
            a = arrange.inputs(matrix, products.a.t()).t()  # (r, K)
            b = arrange.outputs(matrix, products.b)  # (N, r)
            for part, weight in (("a", a), ("b", b)):
                packed |= named_arrays(f"{layer}.{matrix}.{part}", pack(weight, None, "float32"))
    return packed


def _adapted(block: nn.Module, adapter: str) -> dict[str, Linear]:
    """The weights of a layer that adapters may change. Raises NativeUnavailableError where this one goes beyond."""
    found = matrices(block)
    if any(adapter_products(linear, adapter) for name, linear in found.items() if name not in MATRICES):
        raise NativeUnavailableError(
            f"the native kernels do not know the adapter `{adapter}`, which changes experts",
            remedy="Choose the engine torch, or merge the adapter into the model.",
        )
    return {name: linear for name, linear in found.items() if name in MATRICES}
