"""GGUF to a Hugging Face directory: the weights in float32, config.json, and the tokenizer from the metadata.

Reads the architectures llama (Llama, SmolLM2, Mistral), qwen2, qwen3 and qwen3moe in every quantisation that the
`gguf` package dequantises. Files of the architecture llama hold the rows of q and k interleaved for another rotary
layout; they are put back in the order of Hugging Face weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genwerk.core.atomic import write_json
from genwerk.core.errors import ModelError
from genwerk.core.progress import track
from genwerk.models.decoder import DecoderConfig
from genwerk.models.gguf_file import GGUFFile
from genwerk.models.hf_config import config_to_hf
from genwerk.models.huggingface import expected_shapes
from genwerk.models.rope import RopeScaling, inverse_frequencies
from genwerk.models.weights import write_tensors
from genwerk.tokenizers.gguf_tokenizer import write_gguf_tokenizer

__all__ = ["convert_gguf"]

_ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3moe": "qwen3_moe"}
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output": "lm_head",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
}
_EXPERTS = {"ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj", "ffn_down_exps": "down_proj"}


def convert_gguf(gguf_path: Path, out_dir: Path) -> None:
    """Write the model in `gguf_path` as a Hugging Face directory.

    Raises ModelError for a truncated file, an unsupported architecture, quantisation or tokenizer.
    """
    source = GGUFFile(gguf_path)
    config = _config(source)
    out_dir.mkdir(parents=True, exist_ok=True)
    special = write_gguf_tokenizer(source.metadata, out_dir, where=str(gguf_path))
    shapes = expected_shapes(config)
    tensors: dict[str, Tensor] = {}
    with track(f"converting {gguf_path.name}", total=len(source.tensors), unit="tensors") as bar:
        for name in source.tensors:
            for target, values in _convert(source, name, config):
                if shapes.get(target) != values.shape:
                    raise ModelError(
                        f"tensor {name} of shape {values.shape} does not fit the metadata ({shapes.get(target)})",
                        where=str(gguf_path),
                        remedy="This kind of model cannot be read; supported: Llama, Mistral, SmolLM2, Qwen2, Qwen3.",
                    )
                tensors[target] = torch.from_numpy(np.require(values, requirements=("C", "W")))
            bar.advance()
    missing = sorted(set(shapes) - set(tensors))
    if missing:
        raise ModelError(f"the file has no weight {missing[0]}", where=str(gguf_path), remedy="Fetch it again.")
    write_tensors(out_dir / "model.safetensors", tensors)
    ends = {key: special[key] for key in ("bos_token_id", "eos_token_id")}
    write_json(out_dir / "config.json", config_to_hf(config) | ends | {"torch_dtype": "float32"})
    write_json(out_dir / "generation_config.json", special)


def _config(source: GGUFFile) -> DecoderConfig:
    values = source.metadata
    kind = values.get("general.architecture")
    if kind not in _ARCHITECTURES:
        raise ModelError(
            f"GGUF architecture {kind!r} is not supported",
            where=str(source.path),
            remedy=f"Supported: {', '.join(_ARCHITECTURES)}.",
        )

    def get(key: str, default: Any = None) -> Any:
        value = values.get(f"{kind}.{key}", default)
        if value is None:
            raise ModelError(f"the metadata lacks {kind}.{key}", where=str(source.path), remedy="Convert it again.")
        return value

    n_heads, d_model = int(get("attention.head_count")), int(get("embedding_length"))
    head_dim = int(get("attention.key_length", get("rope.dimension_count", d_model // n_heads)))
    theta = float(get("rope.freq_base", 10000.0))
    experts = int(get("expert_count", 0))
    if experts and kind != "qwen3moe":
        raise ModelError(f"mixtures of experts of {kind} are not read from GGUF", where=str(source.path))
    return DecoderConfig(
        vocab_size=source.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in source.tensors else 0,
        d_model=d_model,
        n_layers=int(get("block_count")),
        n_heads=n_heads,
        n_kv_heads=int(get("attention.head_count_kv", n_heads)),
        head_dim=head_dim,
        d_ff=int(get("expert_feed_forward_length" if experts else "feed_forward_length")),
        max_positions=int(get("context_length")),
        rope_theta=theta,
        rope_scaling=_scaling(source, kind, head_dim, theta),
        norm_eps=float(np.float32(get("attention.layer_norm_rms_epsilon")).astype(str)),
        tie_embeddings="output.weight" not in source.tensors,
        qkv_bias="blk.0.attn_q.bias" in source.tensors,
        o_bias="blk.0.attn_output.bias" in source.tensors,
        qk_norm=kind.startswith("qwen3"),
        n_experts=experts,
        n_experts_per_token=int(get("expert_used_count")) if experts else 0,
        architecture=_ARCHITECTURES[kind],
    )


def _scaling(source: GGUFFile, kind: str, head_dim: int, theta: float) -> RopeScaling | None:
    """Linear scaling is in the metadata; Llama 3's is a tensor of divisors, from which its factor is read back."""
    name, factor = f"{kind}.rope.scaling", source.metadata.get(f"{kind}.rope.scaling.factor")
    asked = source.metadata.get(f"{name}.type", "none")
    if asked == "linear" and factor:
        return RopeScaling("linear", float(factor))
    if asked not in ("none", "linear"):
        raise ModelError(f"rope scaling {asked!r} is not supported", where=str(source.path))
    if "rope_freqs.weight" not in source.tensors:
        return None
    divisors = source.tensor("rope_freqs.weight")
    scaling = RopeScaling("llama3", float(divisors.max()))
    wanted = inverse_frequencies(head_dim, theta) / divisors
    if not np.allclose(inverse_frequencies(head_dim, theta, scaling), wanted, rtol=1e-3):
        raise ModelError("the rotary frequencies are scaled in an unknown way", where=str(source.path))
    return scaling


def _convert(source: GGUFFile, name: str, config: DecoderConfig) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(Hugging Face name, values) of one tensor; several for a stack of experts, none for derived ones."""
    if name == "rope_freqs.weight":
        return
    layer, part, suffix = re.fullmatch(r"(?:blk\.(\d+)\.)?(.+?)\.(\w+)", name).groups()  # type: ignore[union-attr]
    prefix = f"model.layers.{layer}." if layer is not None else ""
    values = source.tensor(name)
    if part in _EXPERTS:
        for expert, weight in enumerate(values):
            yield f"{prefix}mlp.experts.{expert}.{_EXPERTS[part]}.{suffix}", weight
        return
    if config.architecture == "llama" and part in ("attn_q", "attn_k"):
        values = _half_layout(values, config.n_heads if part == "attn_q" else config.n_kv_heads)
    yield f"{prefix}{_NAMES.get(part, part)}.{suffix}", values


def _half_layout(values: NDArray[np.float32], n_heads: int) -> NDArray[np.float32]:
    """Rows of each head from (i, half) order to (half, i) order."""
    halves = values.reshape(n_heads, -1, 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)
