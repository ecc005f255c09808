"""Small random decoders of every shape, their adapters, and what feeds them to a runner."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.library import usable_variants
from genwerk.inference.native.packed_adapter import pack_adapter
from genwerk.inference.native.packed_decoder import pack_decoder
from genwerk.inference.runner import BLOCK, Chunk, Runner
from genwerk.models.decoder import Decoder, DecoderConfig, RopeScaling
from genwerk.models.lora import LoraConfig, adapter_parameters, add_adapter, use_adapter

BASE: dict[str, Any] = {
    "vocab_size": 97, "d_model": 48, "n_layers": 2, "n_heads": 6, "n_kv_heads": 2, "head_dim": 8, "d_ff": 80,
    "max_positions": 512,
}  # fmt: skip
_QWEN3 = {"qk_norm": True, "norm_eps": 1e-6}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"tie_embeddings": False},
    "llama-biases": {"qkv_bias": True, "o_bias": True},
    "llama3-rope": {"rope_theta": 5e5, "rope_scaling": RopeScaling("llama3", 8.0, 1.0, 4.0, 64)},
    "yarn-rope": {
        "rope_scaling": RopeScaling("yarn", 4.0, original_max_positions=32, attention_factor=1.14), "head_dim": 32,
    },
    "linear-rope": {"rope_scaling": RopeScaling("linear", 2.0)},
    "mistral": {"tie_embeddings": False, "sliding_window": 8, "head_dim": 16},
    "wide-window": {"sliding_window": 45, "head_dim": 12},
    "window-of-one": {"sliding_window": 1},
    "qwen2": {"qkv_bias": True, "norm_eps": 1e-6},
    "qwen2-window": {"qkv_bias": True, "sliding_window": 64},
    "some-windows": {"qkv_bias": True, "sliding_window": 9, "full_layers": (0,), "head_dim": 32},
    "qwen3": {**_QWEN3, "head_dim": 16},
    "qwen3-head-24": {**_QWEN3, "head_dim": 24},
    "head-2": {"head_dim": 2},
    "head-10": {"head_dim": 10},
    "head-48": {"head_dim": 48, "n_layers": 1},
    "head-32": {"head_dim": 32, "n_layers": 1, "n_heads": 7, "n_kv_heads": 1, "sliding_window": 75},
    "head-64": {"head_dim": 64, "n_heads": 3, "n_kv_heads": 1},
    "head-96": {**_QWEN3, "head_dim": 96, "n_layers": 1},
    "head-256": {"head_dim": 256, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1},
    "odd-d_ff": {"d_ff": 83},
    "narrow": {"d_model": 20, "d_ff": 7},
    "vocab-258": {"vocab_size": 258, "tie_embeddings": False},
    "three-heads": {"n_heads": 3, "n_kv_heads": 1},
    "one-head": {"n_heads": 1, "n_kv_heads": 1, "head_dim": 10},
    "all-heads": {"n_kv_heads": 6},
    "many-share-a-key": {"n_heads": 14, "n_kv_heads": 1},
    "everything": {
        **_QWEN3, "d_model": 44, "qkv_bias": True, "o_bias": True, "n_heads": 6, "n_kv_heads": 2, "head_dim": 10,
        "d_ff": 83, "vocab_size": 258, "sliding_window": 45, "tie_embeddings": False,
    },
}  # fmt: skip
EXPERTS: dict[str, dict[str, Any]] = {
    "mixtral": {"n_experts": 5, "n_experts_per_token": 2, "tie_embeddings": False},
    "qwen3-moe": {**_QWEN3, "n_experts": 40, "n_experts_per_token": 8, "d_ff": 24},
    "unnormalised": {"n_experts": 6, "n_experts_per_token": 3, "normalise_experts": False},
    "one-of-three": {"n_experts": 3, "n_experts_per_token": 1, "d_ff": 33, "d_model": 20},
    "all-of-two": {"n_experts": 2, "n_experts_per_token": 2, "head_dim": 32},
}
ADAPTERS = {
    "all": LoraConfig(rank=5, alpha=10.0),
    "some": LoraConfig(rank=3, alpha=3.0, targets=("q_proj", "down_proj")),
    "wide": LoraConfig(rank=40, alpha=20.0, targets=("v_proj", "o_proj", "up_proj")),
}
VARIANTS = ("amx", "avx512", "avx2", "portable")


@torch.inference_mode(False)
def draw(config: DecoderConfig, seed: int = 11) -> Decoder:
    """Random weights, large enough that an error would show; no weight is left at 0 or 1."""
    model = Decoder(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_scale = "norm" in name
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.2 * drawn + (1.0 if is_scale else 0.0))
    return model


@functools.cache
@torch.inference_mode(False)
def small_model(shape: str) -> Decoder:
    """The model of a shape with the adapters of ADAPTERS, none in use."""
    model = draw(DecoderConfig(**BASE | SHAPES[shape]))
    for seed, (name, config) in enumerate(ADAPTERS.items()):
        add_adapter(model, name, config, seed=seed)
        generator = torch.Generator().manual_seed(100 + seed)
        with torch.no_grad():
            for parameter in adapter_parameters(model, name):
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    use_adapter(model, None)
    return model


@functools.cache
def small_mixture(shape: str) -> Decoder:
    """The model of a shape of EXPERTS."""
    return draw(DecoderConfig(**BASE | EXPERTS[shape]))


def usable(variant: str) -> bool:
    return variant in usable_variants()


def make_native(
    model: Decoder, *, precision: str = "float32", adapters: Sequence[str] = (), **settings: Any
) -> NativeDecoder:
    """A runner of `model` and of those of its adapters that are named."""
    packed = {name: pack_adapter(model, name) for name in adapters}
    return NativeDecoder(pack_decoder(model, precision), adapters=packed, **settings)


def native(shape: str, variant: str | None = None, *, precision: str = "float32", **settings: Any) -> NativeDecoder:
    """A fresh runner of the model of a shape, on one thread with 48 blocks."""
    settings = {"blocks": 48, "threads": 1, "adapters": tuple(ADAPTERS)} | settings
    return make_native(small_model(shape), precision=precision, variant=variant, **settings)


def random_tokens(count: int, vocab: int, seed: int = 0) -> list[int]:
    drawn: list[int] = torch.randint(0, vocab, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return drawn


def blocks_for(positions: int, first: int = 0) -> list[int]:
    """Blocks in order, `first` and those after it."""
    return list(range(first, first - (-positions // BLOCK)))


def step(runner: Runner, chunks: Sequence[Chunk]) -> Tensor:
    """The logits of one step, as references give theirs."""
    return torch.from_numpy(runner.step(chunks))


def all_rows(runner: NativeDecoder, chunks: Sequence[Chunk]) -> list[Tensor]:
    """Logits of every token, chunk by chunk: (T, V) each."""
    sizes = [len(chunk.tokens) for chunk in chunks]
    return list(step(runner, [replace(chunk, wanted=len(chunk.tokens)) for chunk in chunks]).split(sizes))
