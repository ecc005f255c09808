"""Context: which passages stand in the prompt, how much of each, and in which order.

    found ─ without copies ─ their sentences that matter ─ as many as fit ─ ordered ─ [1] … [2] … [3] …

Sources: Liu et al. (2023), Lost in the middle: language models use the beginning and the end of a long prompt best.
Xu et al. (2023), RECOMP, section 3.1, for keeping the sentences of a passage that are likest to the question.

    score(s) = cos(question, s) + share of the question's content words in s      a sentence s of a passage
    ends       ranks 1 3 5 … 6 4 2

Chosen:   a passage is a copy where four fifths of its runs of three words stand in a better one; a sentence that is
          kept is still a span of its document, so that what is cited is cut out there; a sentence that ends in a colon
          keeps the one after it; passages that do not fit are passed over for shorter ones after them.
Left out: rewriting passages by a model; moving the budget between passages by their scores.
Try it:   python benchmarks/citations.py --answers 20 --order ends --keep 0.6
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from genwerk.core.types import Chunk
from genwerk.data.sentences import split_sentences
from genwerk.retrieval.citations import Passage
from genwerk.retrieval.copies import Runs, containment, runs_of
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.words import content_words, stem, words_of

__all__ = ["Shown", "best_at_ends", "compress", "distinct", "fit_budget"]

_COPY = 0.8


@dataclass(frozen=True, slots=True)
class Shown:
    """A passage and the spans of its document that the model is shown, in order; whole: its chunk alone."""

    passage: Passage
    spans: tuple[Chunk, ...]

    @classmethod
    def whole(cls, passage: Passage) -> Shown:
        return cls(passage, (passage.chunk,))

    @property
    def text(self) -> str:
        """The spans as they stand there; a blank line where something between two of them is not shown."""
        document = self.passage.document.text
        return "\n\n".join(document[span.start : span.end] for span in self.spans)


def distinct(passages: Sequence[Passage]) -> list[Passage]:
    """Without those that say what a better one before them says already."""
    kept: dict[str, Passage] = {}
    better: list[Runs] = []
    for passage in passages:
        text, runs = " ".join(passage.text.split()), runs_of(passage.text)
        if text not in kept and not any(containment(runs, other) >= _COPY for other in better):
            kept[text] = passage
            better.append(runs)
    return list(kept.values())


def compress(question: str, passages: Sequence[Passage], keep: float, embedder: TextEncoder) -> list[Shown]:
    """Of each passage the sentences that matter most for the question, at most the share `keep` of its characters.

    At least one sentence of each; passages without sentences, and all of them at `keep` 1, stay whole.
    """
    if keep >= 1.0:
        return [Shown.whole(passage) for passage in passages]
    spans = [split_sentences(passage.text) for passage in passages]
    texts = [passage.text[start:end] for passage, own in zip(passages, spans, strict=True) for start, end in own]
    vectors = embedder.embed([question, *texts])
    asked = {stem(word.folded) for word in content_words(question)}
    held = [len(asked & {stem(word.folded) for word in words_of(text)}) / max(len(asked), 1) for text in texts]
    scores = iter((vectors[1:] @ vectors[0] + np.array(held)).tolist() if texts else [])
    return [
        _kept(passage, own, [next(scores) for _ in own], keep) for passage, own in zip(passages, spans, strict=True)
    ]


def _kept(passage: Passage, spans: Sequence[tuple[int, int]], scores: Sequence[float], keep: float) -> Shown:
    if not spans:
        return Shown.whole(passage)
    room = keep * sum(end - start for start, end in spans)
    chosen: set[int] = set()
    for place in sorted(range(len(spans)), key=lambda place: -scores[place]):
        size = spans[place][1] - spans[place][0]
        if chosen and size > room:
            continue
        chosen.add(place)
        room -= size
        start, end = spans[place]
        if passage.text[start:end].endswith(":") and place + 1 < len(spans):
            chosen.add(place + 1)
    base, document = passage.chunk.start, passage.document
    parts: list[Chunk] = []
    for place in sorted(chosen):
        start, end = base + spans[place][0], base + spans[place][1]
        if place - 1 in chosen:  # neighbours are one span, with what stands between them
            start = parts.pop().start
        parts.append(Chunk(document.id, start, end))
    return Shown(passage, tuple(parts))


def fit_budget(shown: Sequence[Shown], tokens_of: Callable[[Sequence[Shown]], int], most: int) -> list[Shown]:
    """As many as keep `tokens_of` within `most`, the better ones first; always the best."""
    kept = list(shown[:1])
    for one in shown[1:]:
        if tokens_of([*kept, one]) <= most:
            kept.append(one)
    return kept


def best_at_ends(shown: Sequence[Shown]) -> list[Shown]:
    """Best first in, best at both ends out: ranks 1 3 5 … 6 4 2."""
    return [*shown[::2], *reversed(shown[1::2])]
