"""What narrows the next token of one answer beside its sampling: its form, its least length, its banned words."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from genwerk.core.types import Sampling
from genwerk.inference.banned_words import BannedWords
from genwerk.inference.logits import Logits
from genwerk.inference.vocabulary import Vocabulary

__all__ = ["Form", "Rule", "make_rules"]


class Rule(Protocol):
    """Follows one answer: `restrict` before each draw, `consume` after it. Either may raise RequestError."""

    def restrict(self, logits: Logits) -> Logits:
        """Logits (V,) with -inf for every token that may not come next: a copy, or the same ones, changed."""
        ...

    def consume(self, token: int) -> None:
        """The token that was drawn."""
        ...


class Form(Rule, Protocol):
    """A rule that may leave only one token to come next, and knows a stretch of these beforehand."""

    def forced(self, most: int) -> list[int]:
        """Tokens that must come next, at most `most` of them."""
        ...

    def fresh(self) -> Form:
        """Another for an answer that is to begin."""
        ...


class LeastLength:
    """No end token among the first `count`."""

    def __init__(self, count: int, ends: frozenset[int]) -> None:
        self._left, self._ends = count, np.array(sorted(ends), np.int64)

    def restrict(self, logits: Logits) -> Logits:
        if self._left:
            logits[self._ends] = -np.inf
        return logits

    def consume(self, token: int) -> None:
        self._left = max(0, self._left - 1)


def make_rules(
    sampling: Sampling, eos: frozenset[int], vocabulary: Vocabulary, form: Rule | None = None
) -> tuple[Rule, ...]:
    """The rules of one answer. eos: the model's end tokens; form: what holds the answer to its form."""
    rules: list[Rule] = []
    if sampling.min_tokens:
        rules.append(LeastLength(sampling.min_tokens, eos | set(sampling.stop_tokens)))
    if form is not None:
        rules.append(form)
    if sampling.bad_words:
        rules.append(BannedWords(sampling.bad_words, vocabulary))
    return tuple(rules)
