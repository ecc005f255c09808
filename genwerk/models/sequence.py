"""The text decoder for sequences of few tokens: molecules, music, codes of pictures.

    tokens (B, T)   the begin token is put before them, and the last one is not needed
    logits (B, T, V)

What is asked for (a class, a text's vector), a code, and the place within a bar are added to every token's embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genwerk.data.sequences import BEGIN
from genwerk.models.condition import Condition
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.kv_cache import Cache, KVCache

__all__ = ["SequenceNetwork"]


class SequenceNetwork(nn.Module):
    """classes, vector: see condition.py; code: length of the code that is told, too; period: of places, 0 for none."""

    def __init__(self, config: DecoderConfig, *, classes: int = 0, vector: int = 0, code: int = 0, period: int = 0):
        super().__init__()
        self.decoder = Decoder(config)
        self.condition = Condition(config.d_model, classes=classes, vector=vector)
        self.code = nn.Linear(code, config.d_model) if code else None
        self.places = nn.Embedding(period, config.d_model) if period else None
        if self.places is not None:
            nn.init.normal_(self.places.weight, std=0.02)

    def told(self, given: Tensor | None, count: int, code: Tensor | None = None) -> Tensor:
        """(B, 1, d_model): what every token is told."""
        found = self.condition(given, count).to(self.decoder.device)
        if self.code is not None and code is not None:
            found = found + self.code(code)
        return found[:, None]  # type: ignore[no-any-return]

    def forward(self, tokens: Tensor, told: Tensor) -> Tensor:
        """Logits of (B, T) tokens, each from those before it."""
        before = torch.cat((torch.full_like(tokens[:, :1], BEGIN), tokens[:, :-1]), 1)
        return self.decoder(before, also=self._at(told, 0, tokens.shape[1]))  # type: ignore[no-any-return]

    def cache(self, count: int, length: int) -> KVCache:
        """Room for so many sequences of so many tokens."""
        place = self.decoder
        return KVCache(place.config, length, batch=count, dtype=place.dtype, device=place.device)

    def next(self, tokens: Tensor, told: Tensor, cache: Cache) -> Tensor:
        """(B, V) logits of what follows; tokens (B,): the last ones, BEGIN at first."""
        logits = self.decoder(tokens[:, None], cache=cache, also=self._at(told, cache.length, 1))
        return logits[:, 0]  # type: ignore[no-any-return]

    def _at(self, told: Tensor, start: int, length: int) -> Tensor:
        if self.places is None:
            return told
        where = torch.arange(start, start + length, device=told.device) % self.places.num_embeddings
        found: Tensor = told + self.places(where)  # (B, T, d_model)
        return found
