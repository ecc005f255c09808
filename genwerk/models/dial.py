"""One dial, the depth, sets the shape of a decoder that is trained from scratch; each value comes with its reason.

    d_model = 64 depth,   heads of 64,   d_ff = 8/3 d_model,   parameters ~ 12 depth d_model^2 + vocab_size d_model

Source: the fixed aspect ratio of depth and width of Kaplan et al. (2020), and of nanochat (Karpathy, 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

from genwerk.core.errors import ModelError
from genwerk.models.decoder import DecoderConfig

__all__ = ["Reason", "derive"]

_WIDTH_PER_LAYER, _HEAD = 64, 64


@dataclass(frozen=True, slots=True)
class Reason:
    """One derived value and why it is so."""

    name: str
    value: int | float | str
    why: str


def derive(depth: int, vocab_size: int) -> tuple[DecoderConfig, list[Reason]]:
    """The decoder of `depth` layers for a vocabulary, and the reason for each value.

    Raises ModelError when depth or vocab_size is below 1.
    """
    if depth < 1 or vocab_size < 1:
        raise ModelError(
            f"a decoder needs at least one layer and one token, not depth {depth} and vocab_size {vocab_size}",
            remedy="4 trains in a minute on two cores, 12 is about the size of GPT-2 small.",
        )
    d_model = _WIDTH_PER_LAYER * depth
    n_heads = d_model // _HEAD
    n_kv_heads = next(n for n in range(1, n_heads + 1) if n_heads % n == 0 and 3 * n >= n_heads)
    d_ff = -(-8 * d_model // (3 * 64)) * 64
    config = DecoderConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=depth,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=_HEAD,
        d_ff=d_ff,
        max_positions=2048,
    )
    shared = n_heads // n_kv_heads
    sharing = f"{shared} query heads share one key head" if shared > 1 else "each query head has its own key head"
    return config, [
        Reason("n_layers", depth, "the dial"),
        Reason("d_model", d_model, "64 per layer: width grows with depth"),
        Reason("n_heads", n_heads, "heads of 64 fill the width"),
        Reason("n_kv_heads", n_kv_heads, f"{sharing}; at most three do, the cache shrinks as much"),
        Reason("head_dim", _HEAD, "the size most models of this width use"),
        Reason("d_ff", d_ff, "8/3 of the width, up to the next 64: as many weights as a plain 4x layer"),
        Reason("max_positions", config.max_positions, "longest text; rotary positions cost no weights"),
        Reason("rope_theta", config.rope_theta, "the usual base below 8,000 positions"),
        Reason("tie_embeddings", "yes", "a small model spends its weights on layers, not on a second vocabulary"),
        Reason("vocab_size", vocab_size, "the tokenizer's"),
    ]
