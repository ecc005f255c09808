"""Recursive chunking: cut a document where its author paused, into pieces that one embedding can hold.

Source: the recursive splitting that retrieval libraries share, with two additions: chunks are spans that tile the text
(joined they are the document, not a byte is lost), and a chunk longer than the encoder's window is cut again.

    cut(span): if it fits, keep it; else cut at the coarsest boundary inside it, pack neighbours up to the limit, and
               cut what is still too long at the next finer boundary

boundaries, coarse to fine: section, paragraph, sentence, line, word, character

Chosen:   a new section starts a new chunk, except after a piece shorter than `min_chars` (a lone heading belongs to
          what follows); the last two pieces of a cut are balanced, so that no chunk is a stray half-line.
Left out: overlap (spans that tile are countable and never cited twice); cutting by embedding similarity.
Try it:   python benchmarks/index.py --chunks 200
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

from genwerk.core.errors import ConfigError
from genwerk.core.types import Chunk, Document
from genwerk.data.sections import split_sections
from genwerk.data.sentences import split_sentences

__all__ = ["Chunker", "RecursiveChunker"]

CountTokens = Callable[[Sequence[str]], list[int]]

_PARAGRAPH = re.compile(r"\n(?:[^\S\n]*\n)+")
_LINE = re.compile(r"\n+")
_WORD = re.compile(r"\s+")
_JOINERS = "\u200d\ufe0e\ufe0f"
_SECTION = 0


class Chunker(Protocol):
    """Turns a document into chunks whose spans tile its text."""

    def chunk(self, document: Document) -> list[Chunk]: ...


class RecursiveChunker:
    """At most `max_chars` code points a chunk and, if `count_tokens` is given, at most `max_tokens` tokens.

    `count_tokens` maps texts to their lengths in tokens, special tokens included.
    """

    def __init__(
        self,
        *,
        max_chars: int = 700,
        min_chars: int = 200,
        count_tokens: CountTokens | None = None,
        max_tokens: int = 256,
    ) -> None:
        if max_chars < 1 or not 0 <= min_chars <= max_chars or max_tokens < 3:
            raise ConfigError(
                f"chunks of {min_chars} to {max_chars} characters and {max_tokens} tokens cannot be made",
                remedy="Set 0 <= min_chars <= max_chars and max_tokens >= 3.",
            )
        self._max_chars, self._min_chars = max_chars, min_chars
        self._count_tokens, self._max_tokens = count_tokens, max_tokens

    def chunk(self, document: Document) -> list[Chunk]:
        """Chunks in order; the first starts at 0, each starts where the one before ends, the last ends with the text.

        A document without text has no chunks.
        """
        text = document.text
        if not text:
            return []
        sections = [section.start for section in split_sections(document)]
        spans = list(self._cut(text, sections, 0, len(text), _SECTION, self._max_chars))
        spans = self._fit_window(text, sections, spans)
        return [Chunk(document.id, start, end) for start, end in spans]

    def _cut(
        self, text: str, sections: list[int], start: int, end: int, level: int, limit: int
    ) -> Iterator[tuple[int, int]]:
        if end - start <= limit and level > _SECTION:
            yield start, end
            return
        breaks: list[int] = []
        while not breaks and level < len(_FINDERS):
            breaks = _breaks_within(text, sections, start, end, level)
            level += 1
        if not breaks:
            yield from ([(start, end)] if end - start <= limit else _cut_hard(text, start, end, limit))
            return
        by_section = level == _SECTION + 1
        for first, last in _pack([start, *breaks, end], limit, self._min_chars if by_section else limit):
            yield from self._cut(text, sections, first, last, max(level, _SECTION + 1), limit)

    def _fit_window(self, text: str, sections: list[int], spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Cut every span again that has more tokens than the window, until none has."""
        if self._count_tokens is None:
            return spans
        done: list[tuple[int, int]] = []
        open_spans = spans
        while open_spans:
            counts = self._count_tokens([text[start:end] for start, end in open_spans])
            again: list[tuple[int, int]] = []
            for (start, end), count in zip(open_spans, counts, strict=True):
                if count <= self._max_tokens or end - start == 1:
                    done.append((start, end))
                    continue
                parts = count // self._max_tokens + 1
                limit = max(1, -(-(end - start) // parts))
                again.extend(self._cut(text, sections, start, end, _SECTION + 1, limit))
            open_spans = again
        return sorted(done)


def _breaks_within(text: str, sections: list[int], start: int, end: int, level: int) -> list[int]:
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


def _pack(marks: list[int], limit: int, full: int) -> list[tuple[int, int]]:
    """Join neighbouring pieces while the joint is shorter than `full` and with the next not longer than `limit`."""
    cuts = [marks[0]]
    for position, following in pairwise(marks[1:]):
        if position - cuts[-1] >= full or following - cuts[-1] > limit:
            cuts.append(position)
    cuts.append(marks[-1])
    if len(cuts) > 2 and full == limit:
        _balance_last(cuts, marks, limit)
    return list(pairwise(cuts))


def _balance_last(cuts: list[int], marks: list[int], limit: int) -> None:
    """Move the last cut to the mark nearest to the middle of the last two pieces, if both then fit."""
    before, after = cuts[-3], cuts[-1]
    if after - before > 2 * limit:
        return
    inside = marks[bisect_right(marks, before) : bisect_left(marks, after)]
    fitting = [mark for mark in inside if mark - before <= limit and after - mark <= limit]
    if fitting:
        cuts[-2] = min(fitting, key=lambda mark: abs(2 * mark - before - after))


def _cut_hard(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
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
