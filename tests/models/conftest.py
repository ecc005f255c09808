"""Small random models of every supported shape, made by transformers, the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

_COMMON: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}
_EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"kind": "Llama", "tie_word_embeddings": False},
    "llama3-rope": {"kind": "Llama", "tie_word_embeddings": False, "rope_parameters": _LLAMA3},
    "llama-linear-rope": {
        "kind": "Llama",
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
    },
    "llama-dynamic-rope": {
        "kind": "Llama",
        "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    },
    "qwen2-yarn": {"kind": "Qwen2", "rope_parameters": _YARN, "head_dim": 16},
    "qwen3-yarn": {
        "kind": "Qwen3",
        "head_dim": 32,
        "tie_word_embeddings": True,
        "rope_parameters": _YARN | {"rope_theta": 1e6, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False},
    },
    "mistral-yarn-mscale": {
        "kind": "Mistral",
        "sliding_window": None,
        "head_dim": 16,
        "rope_parameters": _YARN | {"mscale": 0.8, "mscale_all_dim": 0.4},
    },
    "mixtral-yarn": {
        "kind": "Mixtral",
        "num_local_experts": 5,
        "num_experts_per_tok": 2,
        "head_dim": 8,
        "rope_parameters": _YARN | {"attention_factor": 0.7},
    },
    "llama-biases": {"kind": "Llama", "attention_bias": True},
    "smollm2": {"kind": "Llama", "tie_word_embeddings": True, "rope_theta": 100000.0},
    "all-heads": {"kind": "Llama", "num_key_value_heads": 6},
    "qwen2": {"kind": "Qwen2", "tie_word_embeddings": True},
    "qwen2-window": {"kind": "Qwen2", "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
    "qwen2-some-windows": {
        "kind": "Qwen2",
        "use_sliding_window": True,
        "sliding_window": 8,
        "max_window_layers": 2,
    },
    "qwen3-layer-types": {
        "kind": "Qwen3",
        "head_dim": 16,
        "use_sliding_window": True,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "qwen3-moe-window": {
        "kind": "Qwen3Moe",
        "head_dim": 8,
        **_EXPERTS,
        "norm_topk_prob": True,
        "use_sliding_window": True,
        "sliding_window": 8,
    },
    "mixtral-window": {
        "kind": "Mixtral",
        "num_local_experts": 5,
        "num_experts_per_tok": 2,
        "head_dim": 8,
        "sliding_window": 8,
    },
    "qwen3": {"kind": "Qwen3", "head_dim": 16, "tie_word_embeddings": True},
    "mistral": {"kind": "Mistral", "sliding_window": None, "head_dim": 12},
    "mistral-window": {"kind": "Mistral", "sliding_window": 8},
    "qwen3-moe": {"kind": "Qwen3Moe", "head_dim": 8, **_EXPERTS, "norm_topk_prob": True},
    "qwen3-moe-unnormalised": {"kind": "Qwen3Moe", "head_dim": 8, **_EXPERTS, "norm_topk_prob": False},
    "mixtral": {"kind": "Mixtral", "num_local_experts": 5, "num_experts_per_tok": 2, "head_dim": 8},
}


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are slowed down by a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name: str) -> transformers.PreTrainedModel:
    """The reference model of a shape, the same weights each time, no weight left at 0 or 1."""
    settings = _COMMON | SHAPES[name]
    kind = settings.pop("kind")
    torch.manual_seed(11)
    config = getattr(transformers, f"{kind}Config")(**settings)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "norm" in key or key.endswith("bias"):
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=sorted(SHAPES))
def shape(request: pytest.FixtureRequest) -> str:
    """Each supported shape in turn."""
    return str(request.param)


@pytest.fixture
def reference() -> Callable[[str], transformers.PreTrainedModel]:
    """Build the reference model of a shape."""
    return build


@pytest.fixture
def small_dir(tmp_path: Path) -> Path:
    """A saved Llama with grouped queries and an untied head."""
    path = tmp_path / "small"
    build("llama").save_pretrained(path)
    return path
