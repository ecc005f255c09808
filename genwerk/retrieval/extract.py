"""Quoting instead of generating: the sentences of the found passages that answer the question best.

    near(sentence)  = cos(question, sentence) + share of the question's content words in it
    score(sentence) = near + 0.1 if it opens its passage - 0.1 if it is a list item or announces one - 0.2 in passage 2

Chosen:   at most about 300 characters, cut at sentence ends; a sentence that is longer than that on its own is cut at a
          word. Headings and scraps are passed over while there is anything else. The three small weights are set by
          hand: they order sentences that the question does not tell apart.
Left out: putting sentences of several documents together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genwerk.core.types import Citation
from genwerk.data.sentences import split_sentences
from genwerk.retrieval.citations import Passage, cite
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.words import content_words, stem, words_of

__all__ = ["Quote", "best_quote", "is_readable", "nearness", "says_the_rest"]

_MAX_CHARS = 300
_MIN_WORDS, _MANY_WORDS = 4, 8
_PASSAGES = 2


@dataclass(frozen=True, slots=True)
class Quote:
    """What may stand as an answer by itself; `near` is of its first sentence."""

    citation: Citation
    passage: Passage
    near: float

    def shares_passage(self, other: Citation) -> bool:
        """Whether another citation stands in the same passage."""
        chunk = self.passage.chunk
        return chunk.document_id == other.document_id and chunk.start < other.end and other.start < chunk.end


def best_quote(question: str, passages: Sequence[Passage], embedder: TextEncoder) -> Quote | None:
    """The best sentence of the first two passages with those that follow it while there is room; None without text."""
    places = [(passage, span) for passage in passages[:_PASSAGES] for span in split_sentences(passage.text)]
    places = [place for place in places if is_readable(place[0].text[slice(*place[1])])] or places
    if not places:
        return None
    texts = [passage.text[start:end] for passage, (start, end) in places]
    near = nearness(question, texts, embedder)
    scores = near.copy()
    for number, ((passage, _), text) in enumerate(zip(places, texts, strict=True)):
        opens = number == 0 or places[number - 1][0] is not passage
        scores[number] += _prior(text, opens, passage is passages[0])
    best = int(np.argmax(scores))
    passage, (start, end) = places[best]
    for following, (next_start, next_end) in places[best + 1 :]:
        apart = "\n\n" in passage.text[end:next_start] and not passage.text[start:end].endswith(":")
        if following is not passage or next_end - start > _MAX_CHARS or apart:
            break
        end = next_end
    end = _cut_at_word(passage.text, start, end)
    return Quote(
        cite(passage.document, passage.chunk.start + start, passage.chunk.start + end), passage, float(near[best])
    )


def nearness(question: str, texts: Sequence[str], embedder: TextEncoder) -> np.ndarray:
    """(n,) of texts: likeness in meaning, and the share of the question's content words."""
    vectors = embedder.embed([question, *texts])
    asked = _asked_for(question)
    shares = [len(asked & _stems(text)) / max(len(asked), 1) for text in texts]
    return np.asarray(vectors[1:] @ vectors[0] + np.array(shares, dtype=np.float32))


def says_the_rest(question: str, text: str, quote: str) -> bool:
    """Whether `text` holds half of the question's content words that `quote` lacks: the other part of a question."""
    rest = _asked_for(question) - _stems(quote)
    return bool(rest) and 2 * len(rest & _stems(text)) >= len(rest)


def is_readable(sentence: str) -> bool:
    """Whether it reads as a statement: four words and an end, or many words; not a heading or a scrap."""
    count = len(words_of(sentence))
    ended = sentence.rstrip("\"'”’)»*`_ ").endswith((".", "!", "?", ":", "…"))
    return count >= _MIN_WORDS and (ended or count >= _MANY_WORDS)


def _asked_for(question: str) -> set[str]:
    return {stem(word.folded) for word in content_words(question)}


def _stems(text: str) -> set[str]:
    return {stem(word.folded) for word in words_of(text)}


def _prior(sentence: str, opens: bool, first: bool) -> float:
    listed = sentence.startswith(("*", "-", "•", "+")) or sentence.endswith(":")
    return 0.1 * opens - 0.1 * listed - 0.2 * (not first)


def _cut_at_word(text: str, start: int, end: int) -> int:
    """`end`, or the last end of a word before 300 characters."""
    if end - start <= _MAX_CHARS:
        return end
    piece = text[start : start + _MAX_CHARS + 1]
    kept = piece[: max(piece.rfind(" "), piece.rfind("\n"))] if " " in piece or "\n" in piece else piece[:-1]
    return start + len(kept)
