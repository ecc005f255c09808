"""Vectors of length 1 from a model that generates: its states after the last layer, pooled over a text.

    mean   the mean of the states of all tokens
    last   the state of the end token behind the text, which has seen all of it; for models trained for that

A text's states are computed alone, in one piece and on as many cores as any, between two steps of the engine, so they
are the same to the bit whoever else asks. Texts wait in one line with those of other callers (encoding.py).

Left out: the native runner, whose kernels give logits alone; it is refused with what to do.
Try it:   pytest tests/inference/test_decoder_embedding.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genwerk.core.errors import RequestError
from genwerk.inference.encoding import EncodedText, Encoding
from genwerk.inference.engine import Engine
from genwerk.inference.runner import StatesRunner
from genwerk.inference.text_engine import TextEngine

__all__ = ["DecoderEmbedder"]


class DecoderEmbedder:
    """Any thread may call it. Raises RequestError where the engine's runner gives no states."""

    def __init__(self, engine: TextEngine, *, pooling: Literal["mean", "last"] = "mean") -> None:
        if not isinstance(engine, Engine) or not isinstance(engine.runner, StatesRunner):
            what = f"`{engine.name}` gives no embeddings: {engine.title} computes logits alone"
            remedy = "Serve it with `engine: torch`, or ask an embedding model."
            raise RequestError(what, param="model", code="unsupported_parameter", remedy=remedy)
        self._engine, self._runner, self._pooling = engine, engine.runner, pooling
        self.dimension = engine.runner.config.d_model
        # PyTorch's products add up in an order that depends on the cores, which must not depend on the company.
        self._encoding = Encoding(self._compute, max_rows=engine.scheduler.max_rows, few=0)
        self._encoding.share(engine.between_steps)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens that are read of each text."""
        return [len(self._tokens(text)) for text in texts]

    def embed(self, texts: Sequence[str], user: str = "") -> np.ndarray:
        """Vectors (N, dimension) float32 in the order of `texts`. Raises RequestError for one beyond the context."""
        most, sequences = self._engine.max_context, [self._tokens(text) for text in texts]
        if longest := max((len(one) for one in sequences if len(one) > most), default=0):
            what = f"a text has {longest} tokens, the model's context is {most}"
            raise RequestError(what, param="input", code="context_length_exceeded", remedy="Split the text.")
        if not sequences:
            return np.empty((0, self.dimension), dtype=np.float32)
        return self._encoding.run([EncodedText(one) for one in sequences], user).numpy()

    def _tokens(self, text: str) -> list[int]:
        tokenizer = self._engine.tokenizer
        end = [min(tokenizer.eos_ids)] if self._pooling == "last" and tokenizer.eos_ids else []
        return [*tokenizer.encode(text), *end]

    @torch.inference_mode()
    def _compute(self, texts: Sequence[EncodedText]) -> Tensor:
        states = [self._runner.states(text.tokens) for text in texts]
        pooled = [one[-1] if self._pooling == "last" else one.mean(0) for one in states]
        return F.normalize(torch.stack(pooled).float().cpu(), dim=-1)
