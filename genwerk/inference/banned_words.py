"""Banned words: whatever tokens an answer is made of, its text never contains them.

Source: `bad_words` of vLLM and transformers, which ban one or two ways of writing a word in tokens; here all of them.

    z_j <- -inf   where the answer's bytes followed by those of token j contain a banned word

With t the bytes so far, which contain none, that is every token that contains a word w, and for every k for which t
ends with w[:k] every token that starts with w[k:].

Chosen:   letters as they are given (case, space and accents count); words of the prompt do not count. A word may begin
          and stop halfway, so "never" is kept without looking back. Where no token is left, as when a form demands a
          banned word, the request fails and says so.
Left out: other spellings of a word.
Try it:   pytest tests/inference/test_banned_words.py
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genwerk.core.errors import RequestError
from genwerk.inference.logits import Logits
from genwerk.inference.vocabulary import Vocabulary

__all__ = ["BannedWords"]


class BannedWords:
    """Follows one answer. Every drawn token must be told by `consume`."""

    def __init__(self, words: Sequence[str], vocabulary: Vocabulary) -> None:
        self._words = [word.encode() for word in words]
        self._vocabulary = vocabulary
        self._always = np.concatenate([vocabulary.containing(word) for word in self._words])
        self._longest = max(map(len, self._words))
        self._tail = b""

    def restrict(self, logits: Logits) -> Logits:
        """Put -inf into logits (V,) for every token that would complete a word.

        Raises RequestError where no token is left.
        """
        logits[np.concatenate([self._always, *map(self._vocabulary.starting, self._awaited())])] = -np.inf
        if logits.max() == -np.inf:
            raise RequestError(
                "the answer cannot go on: every token that may come next completes a banned word",
                param="bad_words",
                remedy="Ban fewer words, or ask for a form that does not demand them.",
            )
        return logits

    def consume(self, token: int) -> None:
        """The next token of the answer."""
        text = self._tail + self._vocabulary.texts[token]
        self._tail = text[max(0, len(text) - self._longest + 1) :]

    def _awaited(self) -> set[bytes]:
        """The rests that would complete a word which the text may have begun."""
        return {
            word[size:]
            for word in self._words
            for size in range(1, min(len(word), len(self._tail) + 1))
            if self._tail.endswith(word[:size])
        }
