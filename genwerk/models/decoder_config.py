"""The shape of a decoder, as plain values: what config.json, GGUF metadata and the dial all become."""

from __future__ import annotations

from dataclasses import dataclass

from genwerk.core.errors import ModelError
from genwerk.models.rope import RopeScaling

__all__ = ["DecoderConfig", "Window"]


@dataclass(frozen=True)
class Window:
    """The last `size` tokens, and beside them the first `sinks` of all."""

    size: int
    sinks: int = 0

    def unseen(self, position: int) -> range:
        """Positions that are not seen any more from `position` on."""
        return range(self.sinks, max(self.sinks, position + 1 - self.size))


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of a decoder. `architecture` names the family whose Hugging Face keys it is saved under.

    d_ff                  width of the feed-forward part, of one expert where n_experts > 0.
    sliding_window        a token sees itself and the window - 1 tokens before it; None: all before it.
    full_layers           layers in which a token sees all before it in spite of the window.
    sinks                 so many first tokens stay visible beside the window (Xiao et al., 2023, StreamingLLM). To them
                          a token stands right behind the window: no distance is larger than window + sinks - 1.
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
    full_layers: tuple[int, ...] = ()
    sinks: int = 0
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
        if self.sinks and (self.sliding_window is None or self.full_layers):
            raise ModelError("sinks need a window in every layer", remedy="Give a window beside the sinks, or neither.")

    def window_of(self, layer: int) -> int | None:
        """How many tokens a token of this layer sees; None: all."""
        return None if layer in self.full_layers else self.sliding_window

    @property
    def view(self) -> Window | None:
        """What later tokens see of a text; None: all of it, in some layer at least."""
        return Window(self.sliding_window, self.sinks) if self.sliding_window and not self.full_layers else None
