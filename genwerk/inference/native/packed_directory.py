"""A model directory whose weights are packed integers alone: written when a model is quantised, mapped when served.

    config.json, tokenizer files     as in any model directory
    packed-int4.safetensors          what the kernels read (weights.py); the name says the precision
    packed-int4.sha256               of that file; one that does not match is refused

PyTorch runs such a directory too, from the values that the integers stand for.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor

from genwerk.core.atomic import write_text
from genwerk.core.errors import ModelError
from genwerk.core.hashing import sha256_file
from genwerk.inference.native.pack import PANEL, TURNED, Arrangement, turn
from genwerk.inference.native.weights import PackedWeights, matrices
from genwerk.models.decoder import Block, Decoder
from genwerk.models.huggingface import TOKENIZER_FILES, empty_decoder, read_config
from genwerk.models.weights import read_tensors, write_tensors

__all__ = ["packed_precision", "read_packed", "unpack_decoder", "write_packed"]

_LAYOUT = "inputs_turned_together"
_BESIDE = ("config.json", "generation_config.json", *TOKENIZER_FILES)


def packed_precision(directory: Path) -> str | None:
    """int8 or int4 where `directory` holds packed weights, else None."""
    return next((file.stem.removeprefix("packed-") for file in sorted(directory.glob("packed-*.safetensors"))), None)


def write_packed(weights: PackedWeights, directory: Path, model: Path) -> None:
    """Write `weights` to `directory`, and beside them the settings and the tokenizer of the directory `model`."""
    for name in _BESIDE:
        if (model / name).exists():
            shutil.copyfile(model / name, directory / name)
    file = directory / f"packed-{weights.precision}.safetensors"
    write_tensors(file, {**weights.tensors, _LAYOUT: torch.tensor(TURNED)})
    write_text(file.with_suffix(".sha256"), sha256_file(file))


def read_packed(directory: Path) -> PackedWeights:
    """Map the packed weights of `directory`. Raises ModelError where they are missing or damaged."""
    precision = packed_precision(directory)
    file = directory / f"packed-{precision}.safetensors"
    seal = file.with_suffix(".sha256")
    if precision is None or not seal.exists() or sha256_file(file) != seal.read_text("utf-8").strip():
        raise ModelError(
            "the packed weights are missing or damaged",
            where=str(file if precision else directory),
            remedy="Quantise the model again: `genwerk quantise`, or run its recipe.",
        )
    tensors = dict(read_tensors(file))
    if int(tensors.pop(_LAYOUT, torch.tensor(0))) != TURNED:
        raise ModelError(
            "the packed weights are laid out as an older genwerk did",
            where=str(file),
            remedy="Quantise the model again: `genwerk quantise`, or run its recipe.",
        )
    return PackedWeights(read_config(directory), precision, tensors)


@torch.no_grad()
def unpack_decoder(weights: PackedWeights) -> Decoder:
    """A float32 decoder of the values that the packed weights stand for; activations are not rounded."""
    config, tensors = weights.config, weights.tensors
    model, arrange = empty_decoder(config), Arrangement(config)
    for layer, block in enumerate(model.layers):
        assert isinstance(block, Block)
        for name, linear in matrices(block).items():
            found = _values(weights, f"{layer}.{name}")
            linear.weight.copy_(arrange.restore(name, found, (linear.d_out, linear.d_in)))
            if linear.bias is not None:
                bias = tensors[f"{layer}.{name}.bias"]
                linear.bias.copy_(arrange.restore_outputs(name, bias, linear.d_out))
        block.input_layernorm.weight.copy_(tensors[f"{layer}.attention_norm"][: config.d_model])
        block.post_attention_layernorm.weight.copy_(tensors[f"{layer}.feed_forward_norm"][: config.d_model])
        if block.self_attn.qk_norm is not None:
            for row, name in enumerate(("query_norm", "key_norm")):
                block.self_attn.qk_norm[row] = tensors[f"{layer}.{name}"][: config.head_dim]
    model.norm.weight.copy_(tensors["final_norm"][: config.d_model])
    head = _values(weights, "unembed")[: config.vocab_size, : config.d_model]
    if model.lm_head is not None:
        model.lm_head.copy_(head)
        head = _values(weights, "embed")[: config.vocab_size, : config.d_model]
    model.embed_tokens.copy_(head)
    return model.eval()


def _values(weights: PackedWeights, name: str) -> Tensor:
    """(N, K) float32, filled up, from panels of 32 outputs (pack.py)."""
    data = weights.tensors[f"{name}.data"]
    if data.dtype == torch.float32:
        return data.transpose(1, 2).flatten(0, 1)
    if data.ndim == 4:
        whole = data.transpose(1, 2).flatten(0, 1).flatten(1).float() - 128
        return turn(whole * weights.tensors[f"{name}.scale"][:, None])  # back
    halves = data[..., : 16 * PANEL].reshape(*data.shape[:2], 4, PANEL, 4).transpose(-3, -2)  # (P, G, 32, 4, 4)
    whole = torch.stack((halves & 15, halves >> 4), -3).flatten(-3).float()  # (P, G, N in P, K in G)
    step, lowest = data[..., 16 * PANEL :].contiguous().view(torch.float16).float().chunk(2, -1)
    values = lowest[..., None] + step[..., None] * whole
    return values.transpose(1, 2).flatten(2).flatten(0, 1)
