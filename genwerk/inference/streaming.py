"""Texts longer than a model knows: it sees the last tokens and, beside them, the first few.

Source: Xiao et al. (2023), Efficient streaming language models with attention sinks (StreamingLLM).

    a token at position m sees j  if  m - window < j <= m  or  j < sinks
    distance from m to j  =  m - j in the window,   min(m, window + sinks - 1) - j to a sink

A model gives the first tokens much of its attention, whatever they say, and falls apart when they leave the window. No
distance grows beyond what it was trained for, so a text may go on; what has left the window is forgotten, its cache
blocks are given back (blocks.py), and memory stays bounded.

Chosen:   only on request, and said aloud, since answers differ from the model's own as soon as a text is longer than
          window and sinks together. The distances are the paper's positions within the cache.
Left out: windows of their own for single layers, which a model's config.json may have (models/decoder_config.py).
Try it:   genwerk generate --model smollm2-135m-instruct --window 1024 --sinks 4 --prompt "Once upon a time"
"""

from __future__ import annotations

from dataclasses import replace

from genwerk.core.errors import ModelError
from genwerk.core.progress import say
from genwerk.inference.runner import BLOCK
from genwerk.models.decoder_config import DecoderConfig, Window

__all__ = ["LONGEST", "STRETCH", "with_window"]

STRETCH, LONGEST = 8, 1 << 17  # times the model's positions, and positions, a text may have where nobody asks for more


def with_window(config: DecoderConfig, window: int | None, sinks: int, longest: int | None = None) -> DecoderConfig:
    """`config` as it is served with a window in every layer; as it is where none is asked for, or its own.

    longest  most positions of a text that somebody asks for

    Raises ModelError for a window or sinks that cannot be.
    """
    if (window is None and not sinks) or config.view == Window(window or 0, sinks):
        return config
    size = window or config.sliding_window
    if size is None:
        raise ModelError(f"{sinks} sinks have no window to stand beside", remedy="Give a window too, such as 1024.")
    if not 1 <= size <= config.max_positions - sinks or not 0 <= sinks <= BLOCK:
        raise ModelError(
            f"a window of {size} tokens with {sinks} sinks cannot be",
            remedy=f"Sinks: 0 to {BLOCK}. Both together: at most the {config.max_positions} positions the model knows.",
        )
    most = config.max_positions
    if sinks:
        most = max(most, min(STRETCH * most, LONGEST), longest or 0)
    say(
        f"every token sees only the last {size} tokens and the first {sinks}: what lies between is forgotten, and "
        f"answers differ from the model's own; texts may have {most} tokens",
        style="yellow",
    )
    return replace(config, sliding_window=size, full_layers=(), sinks=sinks, max_positions=most)
