"""config.json of Hugging Face directories to DecoderConfig and back.

Keys that would change what the network computes and that it cannot do are refused, never skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genwerk.core.errors import ModelError
from genwerk.models.arrays import read_json
from genwerk.models.decoder_config import DecoderConfig
from genwerk.models.hf_rope import longest_text, rope_from_hf, rope_to_hf

__all__ = ["TOKENIZER_FILES", "config_from_hf", "config_to_hf", "read_config"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")

_CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "mixtral": "MixtralForCausalLM",
}
_EPS_BY_DEFAULT = {"mixtral": 1e-5}


def read_config(path: Path) -> DecoderConfig:
    """The shape of the model in a directory. Raises ModelError for a missing or unsupported config.json."""
    file = path / "config.json"
    return config_from_hf(read_json(file), where=str(file))


def config_from_hf(values: Mapping[str, Any], *, where: str = "config.json") -> DecoderConfig:
    """The network that config.json describes. Raises ModelError for an unsupported or incomplete one."""
    kind = values.get("model_type")
    if kind not in _CLASSES:
        raise ModelError(
            f"model_type {kind!r} is not supported", where=where, remedy=f"Supported: {', '.join(_CLASSES)}."
        )
    _refuse(values, where)
    missing = [key for key in _NEEDED if key not in values]
    if missing:
        raise ModelError(f"config.json lacks {missing[0]}", where=where, remedy="Fetch the model directory again.")
    n_heads = int(values["num_attention_heads"])
    head_dim = values.get("head_dim") or (128 if kind == "qwen3" else values["hidden_size"] // n_heads)
    theta, scaling = rope_from_hf(values, where)
    window, full_layers = _windows(values, kind, where)
    experts = _experts(values, kind, where)
    try:
        return DecoderConfig(
            vocab_size=int(values["vocab_size"]),
            d_model=int(values["hidden_size"]),
            n_layers=int(values["num_hidden_layers"]),
            n_heads=n_heads,
            n_kv_heads=int(values.get("num_key_value_heads") or n_heads),
            head_dim=int(head_dim),
            d_ff=int(values["moe_intermediate_size" if kind == "qwen3_moe" else "intermediate_size"]),
            max_positions=longest_text(values, scaling),
            rope_theta=theta,
            rope_scaling=scaling,
            norm_eps=float(values.get("rms_norm_eps", _EPS_BY_DEFAULT.get(kind, 1e-6))),
            tie_embeddings=bool(values.get("tie_word_embeddings", False)),
            qkv_bias=kind == "qwen2" or bool(values.get("attention_bias")),
            o_bias=bool(values.get("attention_bias")),
            qk_norm=kind in ("qwen3", "qwen3_moe"),
            sliding_window=window,
            full_layers=full_layers,
            n_experts=experts,
            n_experts_per_token=int(values.get("num_experts_per_tok", 2)) if experts else 0,
            normalise_experts=kind != "qwen3_moe" or bool(values.get("norm_topk_prob", False)),
            architecture=kind,
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"config.json has a wrong value: {error}", where=where, remedy="Correct it.") from None


_NEEDED = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings",
)  # fmt: skip


def config_to_hf(config: DecoderConfig) -> dict[str, Any]:
    """The keys of config.json for `config`; the special tokens are the tokenizer's and not in it.

    Raises ModelError for switches that the named architecture does not have.
    """
    kind = config.architecture
    values: dict[str, Any] = {
        "architectures": [_CLASSES[kind]],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": rope_to_hf(config.rope_scaling),
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
    }
    if kind in ("llama", "qwen3", "qwen3_moe"):
        values["attention_bias"] = config.o_bias
    if kind == "llama":
        values["mlp_bias"] = False
    if kind in ("mistral", "mixtral"):
        values["sliding_window"] = config.sliding_window
    if kind.startswith("qwen"):
        window, full = config.sliding_window, len(config.full_layers)
        first = full if config.full_layers == tuple(range(full)) else 0
        values |= {"use_sliding_window": window is not None, "sliding_window": window, "max_window_layers": first}
    if config.full_layers:
        values["layer_types"] = [
            "full_attention" if layer in config.full_layers else "sliding_attention" for layer in range(config.n_layers)
        ]
    if config.n_experts:
        values |= _experts_to_hf(config)
    if config_from_hf(values) != config:
        raise ModelError(
            f"this mix of switches is no {kind} model and has no config.json",
            remedy="Choose the architecture that has these biases, norms and windows.",
        )
    return values


def _experts(values: Mapping[str, Any], kind: str, where: str) -> int:
    if kind not in ("qwen3_moe", "mixtral"):
        return 0
    experts = values.get("num_experts") or values.get("num_local_experts")
    if not experts:
        raise ModelError("config.json lacks num_experts", where=where, remedy="Fetch the model directory again.")
    return int(experts)


def _experts_to_hf(config: DecoderConfig) -> dict[str, Any]:
    chosen = {"num_experts_per_tok": config.n_experts_per_token}
    if config.architecture == "mixtral":
        return {"num_local_experts": config.n_experts, **chosen}
    return {
        "num_experts": config.n_experts,
        **chosen,
        "moe_intermediate_size": config.d_ff,
        "norm_topk_prob": config.normalise_experts,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def _windows(values: Mapping[str, Any], kind: str, where: str) -> tuple[int | None, tuple[int, ...]]:
    """The sliding window, and the layers without it."""
    if kind in ("mistral", "mixtral"):
        window = values.get("sliding_window", 4096 if kind == "mistral" else None)
        return (int(window) if window else None), ()
    if not values.get("use_sliding_window") or not values.get("sliding_window"):
        return None, ()
    layers = int(values["num_hidden_layers"])
    types = values.get("layer_types") if kind != "qwen3_moe" else ["sliding_attention"] * layers
    if types is None:
        first = int(values.get("max_window_layers", 28))
        types = ["full_attention" if layer < first else "sliding_attention" for layer in range(layers)]
    if len(types) != layers or not set(types) <= {"full_attention", "sliding_attention"}:
        raise ModelError(f"layer_types {types} are not supported", where=where, remedy="Fetch the model again.")
    full = tuple(layer for layer, one in enumerate(types) if one == "full_attention")
    return (None, ()) if len(full) == layers else (int(values["sliding_window"]), full)


def _refuse(values: Mapping[str, Any], where: str) -> None:
    reasons = {
        f"hidden_act {values.get('hidden_act')!r}": values.get("hidden_act", "silu") not in ("silu", "swish"),
        "mlp_bias": bool(values.get("mlp_bias")),
        "quantization_config": bool(values.get("quantization_config")),
        "mlp_only_layers": bool(values.get("mlp_only_layers")),
        "decoder_sparse_step": values.get("decoder_sparse_step", 1) != 1,
        "pretraining_tp": values.get("pretraining_tp", 1) not in (None, 1),
    }
    refused = [name for name, applies in reasons.items() if applies]
    if refused:
        raise ModelError(f"config.json asks for {refused[0]}", where=where, remedy="This is not supported.")
