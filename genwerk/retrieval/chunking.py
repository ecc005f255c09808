"""Recursive chunking: cut a document where its author paused, into pieces that one embedding can hold.

Source: the recursive splitting that retrieval libraries share, with two additions: chunks are spans that tile the text
(joined they are the document, not a byte is lost), and a chunk longer than the encoder's window is cut again.

    cut(span): if it fits, keep it; else cut at the coarsest boundary inside it, pack neighbours up to the limit, and
               cut what is still too long at the next finer boundary

boundaries, coarse to fine: section, paragraph, sentence, line, word, character

Chosen:   a new section starts a new chunk, except after a piece shorter than `min_chars` (a lone heading belongs to
          what follows); the last two pieces of a cut are balanced, so that no chunk is a stray half-line.
Left out: overlap (spans that tile are countable and never cited twice). Other ways of cutting have files of their own:
          structural.py, semantic.py, sentence_window.py, parent_child.py; `index_config.py` chooses.
Try it:   python benchmarks/index.py --chunks 200
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from genwerk.core.errors import ConfigError
from genwerk.core.types import Chunk, Document
from genwerk.data.sections import split_sections
from genwerk.data.sentences import split_sentences

__all__ = ["Chunker", "CountTokens", "Limits", "RecursiveChunker", "Span", "chunks_of", "sentence_marks"]

CountTokens = Callable[[Sequence[str]], list[int]]
Span = tuple[int, int]

_PARAGRAPH = re.compile(r"\n(?:[^\S\n]*\n)+")
_LINE = re.compile(r"\n+")
_WORD = re.compile(r"\s+")
_JOINERS = "\u200d\ufe0e\ufe0f"
_SECTION = 0


class Chunker(Protocol):
    """Turns a document into chunks whose spans tile its text, the same at every call.

    The first starts at 0, each starts where the one before ends, the last ends with the text; a document without text
    has no chunks.
    """

    def chunk(self, document: Document) -> list[Chunk]: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """At most `max_chars` code points a chunk and, if `count_tokens` is given, at most `max_tokens` tokens.

    min_chars     what is shorter is joined with a neighbour, where the technique allows it.
    count_tokens  maps texts to their lengths in tokens, special tokens included.

    Raises ConfigError for limits that no chunk can keep.
    """

    max_chars: int = 700
    min_chars: int = 200
    count_tokens: CountTokens | None = None
    max_tokens: int = 256

    def __post_init__(self) -> None:
        if self.max_chars < 1 or not 0 <= self.min_chars <= self.max_chars or self.max_tokens < 3:
            raise ConfigError(
                f"chunks of {self.min_chars} to {self.max_chars} characters, {self.max_tokens} tokens cannot be made",
                remedy="Set 0 <= min_chars <= max_chars and max_tokens >= 3.",
            )

    def fit(self, text: str, spans: Iterable[Span], sections: Sequence[int] | None = None) -> list[Span]:
        """The spans, those that are too long cut again; with `sections`, where those start, first of all there."""
        level = _SECTION + 1 if sections is None else _SECTION
        limit = self.max_chars
        cut = [piece for start, end in spans for piece in self._cut(text, sections or (), start, end, level, limit)]
        return self._fit_window(text, cut)

    def joined(self, marks: Sequence[int], full: int) -> list[Span]:
        """Spans between `marks`, those shorter than `full` joined with the next, the last with the one before, if they
        then fit."""
        spans = _pack(marks, self.max_chars, full)
        if len(spans) > 1 and spans[-1][1] - spans[-1][0] < full and spans[-1][1] - spans[-2][0] <= self.max_chars:
            spans[-2:] = [(spans[-2][0], spans[-1][1])]
        return spans

    def _cut(self, text: str, sections: Sequence[int], start: int, end: int, level: int, limit: int) -> Iterator[Span]:
        if end - start <= limit and level > _SECTION:
            yield start, end
            return
        breaks: Sequence[int] = ()
        while not breaks and level < len(_FINDERS):
            breaks = _breaks_within(text, sections, start, end, level)
            level += 1
        if not breaks:
            yield from ([(start, end)] if end - start <= limit else _cut_hard(text, start, end, limit))
            return
        by_section = level == _SECTION + 1
        for first, last in _pack([start, *breaks, end], limit, self.min_chars if by_section else limit):
            yield from self._cut(text, sections, first, last, max(level, _SECTION + 1), limit)

    def _fit_window(self, text: str, spans: list[Span]) -> list[Span]:
        """Cut every span again that has more tokens than the window, until none has."""
        if self.count_tokens is None:
            return spans
        done: list[Span] = []
        open_spans = spans
        while open_spans:
            counts = self.count_tokens([text[start:end] for start, end in open_spans])
            again: list[Span] = []
            for (start, end), count in zip(open_spans, counts, strict=True):
                if count <= self.max_tokens or end - start == 1:
                    done.append((start, end))
                    continue
                parts = count // self.max_tokens + 1
                limit = max(1, -(-(end - start) // parts))
                again.extend(self._cut(text, (), start, end, _SECTION + 1, limit))
            open_spans = again
        return sorted(done)


class RecursiveChunker:
    """Cuts at sections, then at whatever is coarsest inside what is still too long; see `Limits`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def chunk(self, document: Document) -> list[Chunk]:
        """Chunks in order, tiling the text."""
        if not document.text:
            return []
        sections = [section.start for section in split_sections(document)]
        return chunks_of(document, self._limits.fit(document.text, [(0, len(document.text))], sections))


def chunks_of(document: Document, spans: Iterable[Span]) -> list[Chunk]:
    """The spans as chunks of the document."""
    return [Chunk(document.id, start, end) for start, end in spans]


def sentence_marks(text: str) -> list[int]:
    """0, where each further sentence starts, and len(text); what stands between sentences belongs to the one before."""
    return [0, *(start for start, _ in split_sentences(text)[1:]), len(text)]


def _breaks_within(text: str, sections: Sequence[int], start: int, end: int, level: int) -> Sequence[int]:
    """Positions strictly inside (start, end) where a piece of this level begins."""
    if level == _SECTION:
        return sections[bisect_right(sections, start) : bisect_left(sections, end)]
    return [position for position in _FINDERS[level](text, start, end) if start < position < end]


def _sentence_starts(text: str, start: int, end: int) -> Iterator[int]:
    return (start + first for first, _ in split_sentences(text[start:end]))


def _ends_of(pattern: re.Pattern[str]) -> Callable[[str, int, int], Iterator[int]]:
    return lambda text, start, end: (match.end() for match in pattern.finditer(text, start, end))


_FINDERS: tuple[Callable[[str, int, int], Iterator[int]], ...] = (
    lambda text, start, end: iter(()),  # sections are known beforehand
    _ends_of(_PARAGRAPH),
    _sentence_starts,
    _ends_of(_LINE),
    _ends_of(_WORD),
)


def _pack(marks: Sequence[int], limit: int, full: int) -> list[Span]:
    """Join neighbouring pieces while the joint is shorter than `full` and with the next not longer than `limit`."""
    cuts = [marks[0]]
    for position, following in pairwise(marks[1:]):
        if position - cuts[-1] >= full or following - cuts[-1] > limit:
            cuts.append(position)
    cuts.append(marks[-1])
    if len(cuts) > 2 and full == limit:
        _balance_last(cuts, marks, limit)
    return list(pairwise(cuts))


def _balance_last(cuts: list[int], marks: Sequence[int], limit: int) -> None:
    """Move the last cut to the mark nearest to the middle of the last two pieces, if both then fit."""
    before, after = cuts[-3], cuts[-1]
    if after - before > 2 * limit:
        return
    inside = marks[bisect_right(marks, before) : bisect_left(marks, after)]
    fitting = [mark for mark in inside if mark - before <= limit and after - mark <= limit]
    if fitting:
        cuts[-2] = min(fitting, key=lambda mark: abs(2 * mark - before - after))


def _cut_hard(text: str, start: int, end: int, limit: int) -> Iterator[Span]:
    """Cut a text without any boundary into equal parts, not between a character and the marks that belong to it."""
    parts = -(-(end - start) // limit)
    size = -(-(end - start) // parts)
    while start < end:
        cut = min(start + size, end)
        while start + max(1, size // 2) < cut < end and _belongs_to_previous(text, cut):
            cut -= 1
        yield start, cut
        start = cut


def _belongs_to_previous(text: str, position: int) -> bool:
    character, previous = text[position], text[position - 1]
    return bool(unicodedata.combining(character)) or character in _JOINERS or previous == "\u200d"
