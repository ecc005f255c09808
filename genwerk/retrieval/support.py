"""Grounding score: how well a sentence is held by the words it cites.

    words  = |keys(s) ∩ keys(q)| / |keys(s)|      content words and numbers of the sentence s that stand in its quote q
    cosine = cos(v_s, v_q)                        their likeness in meaning
    score  = 1 / (1 + exp(-(w_0 + w_1 words + w_2 cosine)))

keys    words by their stem, names and numbers as they are written
w       logistic regression that tells a sentence beside its own quote (shortened or reworded by rule) from the
        same sentence beside the likest other sentence of the collection, and from it with a number or name changed

The score is no proof: what is shown has passed `citations.align` and `citations.verify` before it is scored. It says
how much of the claim the quote holds, so that a reader sees which sentence to look up first.

Chosen:   the weights were fitted once, on the Python language reference (benchmarks/grounding.py), and are constants.
Left out: natural language inference, for which no weights are to be had from a package registry.
Try it:   python benchmarks/grounding.py --quick
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.words import Word, content_words, stem, words_of

__all__ = ["Support", "score_support", "share_held", "word_key"]

WEIGHTS = (-34.9, 33.6, 3.7)  # w_0, w_1, w_2


@dataclass(frozen=True, slots=True)
class Support:
    """How a sentence is held by its quote: the share of its words, the likeness, and both as one score in (0, 1)."""

    words: float
    cosine: float

    @property
    def score(self) -> float:
        bias, of_words, of_meaning = WEIGHTS
        return 1.0 / (1.0 + math.exp(-(bias + of_words * self.words + of_meaning * self.cosine)))


def score_support(sentence: str, quote: str, embedder: TextEncoder) -> Support:
    """The score of one sentence; 0 words of a sentence that has none. The quote itself needs no embedder."""
    words = share_held(sentence, quote)
    if sentence.split() == quote.split():
        return Support(words, 1.0)
    vectors = embedder.embed([sentence, quote])
    return Support(words, float(min(max(vectors[0] @ vectors[1], -1.0), 1.0)))


def share_held(sentence: str, quote: str) -> float:
    """Share of the sentence's distinct content words and numbers that stand in the quote."""
    wanted = {word_key(word) for word in content_words(sentence)}
    return len(wanted & {word_key(word) for word in words_of(quote)}) / len(wanted) if wanted else 0.0


def word_key(word: Word) -> str:
    """Words compare by their stem, names and numbers as they are."""
    return word.folded if any(c.isupper() or c.isdigit() for c in word.text[1:]) else stem(word.folded)
