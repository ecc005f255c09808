"""The shape of a decoder, as plain values: what config.json, GGUF metadata and the dial all become."""

from __future__ import annotations

from dataclasses import dataclass

from genwerk.core.errors import ModelError
from genwerk.models.rope import RopeScaling

__all__ = ["DecoderConfig"]


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of a decoder. `architecture` names the family whose Hugging Face keys it is saved under.

    d_ff                  width of the feed-forward part, of one expert where n_experts > 0.
    sliding_window        a token sees itself and the window - 1 tokens before it; None: all before it.
    normalise_experts     the gate's weights of the chosen experts are scaled to sum to 1.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    max_positions: int
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    tie_embeddings: bool = True
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: bool = False
    sliding_window: int | None = None
    n_experts: int = 0
    n_experts_per_token: int = 0
    normalise_experts: bool = True
    architecture: str = "llama"

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ModelError(
                f"{self.n_heads} query heads cannot share {self.n_kv_heads} key heads evenly",
                remedy="n_heads must be a multiple of n_kv_heads.",
            )
        if self.n_experts and not 1 <= self.n_experts_per_token <= self.n_experts:
            raise ModelError(f"a token cannot use {self.n_experts_per_token} of {self.n_experts} experts")
        if self.head_dim % 2:
            raise ModelError(f"head_dim {self.head_dim} is odd", remedy="Rotary embeddings need an even head_dim.")
