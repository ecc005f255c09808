"""Quoting instead of generating: the sentences of the found passages that answer the question best.

    score(sentence) = cos(question, sentence) + share of the question's content words in it

Chosen:   at most about 300 characters, cut at sentence ends; a sentence that is longer than that on its own is cut at a
          word. Headings and scraps of fewer than four words are passed over while there is anything else.
Left out: putting sentences of several documents together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genwerk.core.types import Citation
from genwerk.data.sentences import split_sentences
from genwerk.retrieval.citations import Passage, cite
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.words import content_words, stem, words_of

__all__ = ["best_quote"]

_MAX_CHARS = 300
_MIN_WORDS = 4
_PASSAGES = 2


def best_quote(question: str, passages: Sequence[Passage], embedder: TextEncoder) -> Citation | None:
    """The best sentence of the first two passages with those that follow it while there is room; None without text."""
    places = [(passage, span) for passage in passages[:_PASSAGES] for span in split_sentences(passage.text)]
    whole = [place for place in places if _is_whole(place[0].text[slice(*place[1])])]
    places = whole or places
    if not places:
        return None
    texts = [passage.text[start:end] for passage, (start, end) in places]
    vectors = embedder.embed([question, *texts])
    asked = {stem(word.folded) for word in content_words(question)}
    shares = [len(asked & {stem(word.folded) for word in words_of(text)}) / max(len(asked), 1) for text in texts]
    best = int(np.argmax(vectors[1:] @ vectors[0] + np.array(shares)))
    passage, (start, end) = places[best]
    for following, (next_start, next_end) in places[best + 1 :]:
        if following is not passage or next_end - start > _MAX_CHARS or "\n\n" in passage.text[end:next_start]:
            break
        end = next_end
    end = _cut_at_word(passage.text, start, end)
    return cite(passage.document, passage.chunk.start + start, passage.chunk.start + end)


def _is_whole(sentence: str) -> bool:
    return len(words_of(sentence)) >= _MIN_WORDS and sentence.rstrip("\"'”’)»*`_ ").endswith((".", "!", "?", ":", "…"))


def _cut_at_word(text: str, start: int, end: int) -> int:
    """`end`, or the last end of a word before 300 characters."""
    if end - start <= _MAX_CHARS:
        return end
    piece = text[start : start + _MAX_CHARS + 1]
    kept = piece[: max(piece.rfind(" "), piece.rfind("\n"))] if " " in piece or "\n" in piece else piece[:-1]
    return start + len(kept)
