"""What every token adds to a text, in bytes, and which tokens begin with or contain given ones.

Control tokens add nothing. In tokenizers that are not byte-level a word's first token counts with its space, also at
the very start of a text, where decoding leaves the space out.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property, lru_cache

import numpy as np

from genwerk.inference.logits import Tokens
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["Vocabulary"]

_KEPT = 1024


class Vocabulary:
    """The tokens of one tokenizer whose logits have `size` entries. Any thread may use it."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self._tokenizer, self._size = tokenizer, size
        self.containing = lru_cache(_KEPT)(self._containing)
        self.starting = lru_cache(_KEPT)(self._starting)

    @cached_property
    def texts(self) -> list[bytes]:
        """The bytes of each token, (V)."""
        special = self._tokenizer.special_ids
        return [b"" if token in special else self._tokenizer.token_bytes(token) for token in range(self._size)]

    @cached_property
    def _ordered(self) -> tuple[list[bytes], list[int]]:
        order = sorted(range(self._size), key=self.texts.__getitem__)
        return [self.texts[token] for token in order], order

    def _containing(self, part: bytes) -> Tokens:
        """Ids of the tokens in whose text `part` stands."""
        return np.array([token for token, text in enumerate(self.texts) if part in text], np.int64)

    def _starting(self, beginning: bytes) -> Tokens:
        """Ids of the tokens whose text starts with `beginning`, which is not empty."""
        texts, order = self._ordered
        first = last = bisect_left(texts, beginning)
        while last < len(texts) and texts[last].startswith(beginning):
            last += 1
        return np.array(order[first:last], np.int64)
