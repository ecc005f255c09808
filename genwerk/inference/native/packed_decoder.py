"""A decoder to packed weights, and back to the values that these stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from genwerk.inference.native.layout import PANEL, head_size
from genwerk.inference.native.pack import Arrangement, Grid, Packing, fill, pack, turn
from genwerk.inference.native.weights import PackedWeights, check_shape
from genwerk.models.arrays import Array
from genwerk.models.decoder import Block, Decoder
from genwerk.models.feed_forward import MLP, Experts
from genwerk.models.huggingface import empty_decoder
from genwerk.models.linear import Linear

__all__ = ["matrices", "named_arrays", "pack_decoder", "unpack_decoder"]


@torch.no_grad()
def pack_decoder(model: Decoder, precision: str, grids: Mapping[str, Grid] | None = None) -> PackedWeights:
    """Pack every weight of `model`, which is not needed after. Raises NativeUnavailableError (see `check_shape`).

    grids  by name, as `3.qkv`, what calibration chose; the others reach from the lowest to the highest weight.
    """
    check_shape(model.config)
    with torch.inference_mode(False):
        return PackedWeights(model.config, precision, dict(_packed(model, precision, grids or {})))


@torch.no_grad()
def unpack_decoder(weights: PackedWeights) -> Decoder:
    """A float32 decoder of the values that the packed weights stand for; activations are not rounded."""
    config, tensors = weights.config, _tensors(weights)
    model, arrange = empty_decoder(config), Arrangement(config)
    for layer, block in enumerate(model.layers):
        assert isinstance(block, Block)
        for name, linear in matrices(block).items():
            found = _values(tensors, f"{layer}.{name}")
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
    head = _values(tensors, "unembed")[: config.vocab_size, : config.d_model]
    if model.lm_head is not None:
        model.lm_head.copy_(head)
        head = _values(tensors, "embed")[: config.vocab_size, : config.d_model]
    model.embed_tokens.copy_(head)
    return model.eval()


def matrices(block: nn.Module) -> dict[str, Linear]:
    """The weights of a `Block` by name: those of MATRICES, or `router` and `expert-5.down` for the last two."""
    assert isinstance(block, Block)
    found = {"qkv": block.self_attn.qkv, "out": block.self_attn.out}
    if isinstance(block.mlp, MLP):
        return found | {"gate_up": block.mlp.gate_up, "down": block.mlp.down}
    assert isinstance(block.mlp, Experts)
    found["router"] = block.mlp.router
    for number, expert in enumerate(block.mlp.experts):
        assert isinstance(expert, MLP)
        found |= {f"expert-{number}.gate_up": expert.gate_up, f"expert-{number}.down": expert.down}
    return found


def _packed(model: Decoder, precision: str, grids: Mapping[str, Grid]) -> Iterator[tuple[str, Array]]:
    arrange, head = Arrangement(model.config), head_size(model.config)
    for layer, block in enumerate(model.layers):
        assert isinstance(block, Block)
        for name, linear in matrices(block).items():
            weight = arrange.matrix(name, linear.weight.detach())
            bias = None if linear.bias is None else arrange.outputs(name, linear.bias.detach())
            kept = "float32" if name == "router" else precision  # a rounded one would choose other experts
            yield from named_arrays(f"{layer}.{name}", pack(weight, bias, kept, grids.get(f"{layer}.{name}")))
        yield f"{layer}.attention_norm", _vector(block.input_layernorm.weight)
        yield f"{layer}.feed_forward_norm", _vector(block.post_attention_layernorm.weight)
        if (norms := block.self_attn.qk_norm) is not None:
            yield f"{layer}.query_norm", _vector(norms[0], head)
            yield f"{layer}.key_norm", _vector(norms[1], head)
    yield "final_norm", _vector(model.norm.weight)
    words = model.embed_tokens if model.lm_head is None else model.lm_head
    wider = "int8" if precision == "int4" else precision  # half bytes cost most where the words are chosen
    yield from named_arrays("unembed", pack(words, None, wider))
    if model.lm_head is not None:
        yield from named_arrays("embed", pack(model.embed_tokens, None, wider))


def named_arrays(name: str, packing: Packing) -> Iterator[tuple[str, Array]]:
    """The parts of a matrix that are there, under its name."""
    for part, tensor in packing._asdict().items():
        if tensor is not None:
            yield f"{name}.{part}", tensor.numpy()


def _vector(weight: Tensor, multiple: int = PANEL) -> Array:
    found: Array = fill(weight.detach().float(), 0, multiple).clone().numpy()
    return found


def _tensors(weights: PackedWeights) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in weights.arrays.items()}


def _values(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """(N, K) float32, filled up, from panels of 32 outputs (pack.py)."""
    data = tensors[f"{name}.data"]
    if data.dtype == torch.float32:
        return data.transpose(1, 2).flatten(0, 1)
    if data.ndim == 4:
        whole = data.transpose(1, 2).flatten(0, 1).flatten(1).float() - 128
        return turn(whole * tensors[f"{name}.scale"][:, None])  # back
    halves = data[..., : 16 * PANEL].reshape(*data.shape[:2], 4, PANEL, 4).transpose(-3, -2)  # (P, G, 32, 4, 4)
    whole = torch.stack((halves & 15, halves >> 4), -3).flatten(-3).float()  # (P, G, N in P, K in G)
    step, lowest = data[..., 16 * PANEL :].contiguous().view(torch.float16).float().chunk(2, -1)
    values = lowest[..., None] + step[..., None] * whole
    return values.transpose(1, 2).flatten(2).flatten(0, 1)
