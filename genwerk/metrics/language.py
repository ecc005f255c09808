"""Bits per byte and perplexity: how well a language model predicts text.

    bits per byte = nats / (bytes * ln 2)        perplexity = exp(nats / tokens)

nats    sum over the tokens of -ln p(token | what came before)
bytes   length in UTF-8 of the text that these tokens spell
tokens  how many were predicted

Chosen:   bits per byte is compared across tokenizers, perplexity only within one; both are sums over the whole text
          divided once, so that long documents count by their length.
Left out: word-level perplexity, which depends on how words are counted.
"""

from __future__ import annotations

import math

__all__ = ["bits_per_byte", "perplexity"]


def bits_per_byte(nats: float, n_bytes: int) -> float:
    """Average bits to encode one byte of text, given the summed negative log-likelihood in nats.

    Raises ValueError when there are no bytes: an average over nothing has no value.
    """
    if n_bytes <= 0:
        raise ValueError(f"bits per byte needs at least one byte of text, got {n_bytes}")
    return nats / (n_bytes * math.log(2.0))


def perplexity(nats: float, n_tokens: int) -> float:
    """exp of the average negative log-likelihood per token; infinite where that overflows a float.

    Raises ValueError when no token was predicted.
    """
    if n_tokens <= 0:
        raise ValueError(f"perplexity needs at least one predicted token, got {n_tokens}")
    try:
        return math.exp(nats / n_tokens)
    except OverflowError:
        return math.inf
