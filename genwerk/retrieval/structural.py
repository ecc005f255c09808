"""Structural chunking: a chunk is a branch of the document's tree of headings.

    pack(branch): if it fits, keep it whole; else its own text, then its branches, each packed; a branch that fits
                  together with its parent's text, or with the whole branches before it, joins them

A heading whose level is `level` or higher always starts a chunk; headings below it are where a branch may be cut.

Chosen:   a heading with nothing under it but the next heading belongs to that one, so that no chunk is a lone title;
          a section that is too long by itself is cut as in chunking.py.
Left out: levels that are guessed from the size of a title's letters.
Try it:   genwerk index build ./docs --chunker structural
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from genwerk.core.types import Chunk, Document
from genwerk.data.sections import Section, split_sections
from genwerk.retrieval.chunking import Limits, Span, chunks_of

__all__ = ["StructuralChunker"]


class StructuralChunker:
    """Chunks that never cross a heading of `level` or above: 1 is a document's largest heading, 0 crosses all."""

    def __init__(self, limits: Limits, level: int = 2) -> None:
        self._limits, self._level = limits, level

    def chunk(self, document: Document) -> list[Chunk]:
        """Chunks in order, tiling the text."""
        sections = _with_text(document.text, split_sections(document))
        spans = [span for tree in self._trees(sections) for span in self._pack(tree)]
        return chunks_of(document, self._limits.fit(document.text, spans))

    def _trees(self, sections: Sequence[Section]) -> Iterator[Sequence[Section]]:
        """Runs of sections, each from a heading that starts a chunk to the next."""
        starts = [place for place, one in enumerate(sections) if not place or 1 <= one.level <= self._level]
        return (sections[first:last] for first, last in pairwise([*starts, len(sections)]))

    def _pack(self, tree: Sequence[Section]) -> list[Span]:
        """Spans of a section and those under it."""
        if len(tree) == 1 or self._fits(tree[0].start, tree[-1].end):
            return [(tree[0].start, tree[-1].end)]
        pieces = [(tree[0].start, tree[0].end)]
        whole = True  # nothing of what the last piece began lies in an earlier one
        for branch in _branches(tree[1:]):
            if whole and self._fits(pieces[-1][0], branch[-1].end):
                pieces[-1] = (pieces[-1][0], branch[-1].end)
                continue
            inner = self._pack(branch)
            pieces += inner
            whole = len(inner) == 1
        return pieces

    def _fits(self, start: int, end: int) -> bool:
        return end - start <= self._limits.max_chars


def _branches(sections: Sequence[Section]) -> Iterator[Sequence[Section]]:
    """Runs of sections of which the first is the highest."""
    first = 0
    for place in range(1, len(sections) + 1):
        if place == len(sections) or sections[place].level <= sections[first].level:
            yield sections[first:place]
            first = place


def _with_text(text: str, sections: Sequence[Section]) -> list[Section]:
    """The sections, a heading without text of its own joined with the next."""
    joined: list[Section] = []
    bare: Section | None = None
    for section in sections:
        if bare is not None:
            section = replace(section, start=bare.start, level=min(bare.level, section.level))
        bare = None if text[section.body : section.end].strip() else section
        if bare is None:
            joined.append(section)
    return [*joined, bare] if bare is not None else joined
