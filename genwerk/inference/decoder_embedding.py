"""Vectors of length 1 from a model that generates.

    vector = m / |m|,    m = mean of the states of all tokens of a text after the last layer

A text's states are computed alone, in one piece and always on all cores, between two steps of the engine, so they are
the same to the bit whoever else asks. Texts wait in one line with those of other callers (encoding.py).

Left out: the native runner, whose kernels give logits alone; it is refused with what to do. The state of an end token
          in place of the mean, which is for models that were trained for vectors and do not generate.
Try it:   pytest tests/inference/test_decoder_embedding.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genwerk.core.errors import RequestError
from genwerk.inference.encoding import EncodedText, Encoding
from genwerk.inference.engine import Engine
from genwerk.inference.text_engine import TextEngine
from genwerk.models.decoder_config import DecoderConfig

__all__ = ["DecoderEmbedder"]


@runtime_checkable
class StatesRunner(Protocol):
    """A runner that also tells what the network makes of each token."""

    config: DecoderConfig

    def states(self, tokens: Sequence[int], adapter: str | None = None) -> Tensor:
        """States after the final norm of a text by itself, in one piece: (T, d_model)."""
        ...


class DecoderEmbedder:
    """Any thread may call it. Raises RequestError where the engine's runner gives no states."""

    def __init__(self, engine: TextEngine) -> None:
        if not isinstance(engine, Engine) or not isinstance(engine.runner, StatesRunner):
            what = f"`{engine.name}` gives no embeddings: {engine.title} computes logits alone"
            remedy = "Serve it with `engine: torch`, or ask an embedding model."
            raise RequestError(what, param="model", code="unsupported_parameter", remedy=remedy)
        self._engine, self._runner = engine, engine.runner
        self.dimension = engine.runner.config.d_model
        # PyTorch's products add up in an order that depends on the cores, which must not depend on the company.
        self._encoding = Encoding(self._compute, max_rows=engine.scheduler.max_rows, few=0)
        self._encoding.share(engine.between_steps)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each text, whole."""
        return self._engine.tokenizer.encode_batch(texts)

    def embed_tokens(self, sequences: Sequence[Sequence[int]], user: str = "") -> np.ndarray:
        """Vectors (N, dimension) float32 of texts that `tokenize` has read, in their order. Raises RequestError for one
        beyond the context."""
        most = self._engine.max_context
        if longest := max((len(one) for one in sequences if len(one) > most), default=0):
            what = f"a text has {longest} tokens, the model's context is {most}"
            raise RequestError(what, param="input", code="context_length_exceeded", remedy="Split the text.")
        if not sequences:
            return np.empty((0, self.dimension), dtype=np.float32)
        return self._encoding.run([EncodedText(one) for one in sequences], user).numpy()

    @torch.inference_mode()
    def _compute(self, texts: Sequence[EncodedText]) -> Tensor:
        means = [self._runner.states(text.tokens).mean(0) for text in texts]
        return F.normalize(torch.stack(means).float().cpu(), dim=-1)
