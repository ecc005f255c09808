"""Sentence windows: a sentence is searched, the sentences around it are read.

Source: as `SentenceWindowNodeParser` of LlamaIndex (2023); passages and their neighbours: Salton, Allan and Buckley
(1993), Approaches to passage retrieval in full text information systems.

    searched   `sentences` sentences                    a vector of few words says one thing
    read       them and `around` more on either side    an answer needs what stands before and after

Chosen:   the window is found again in the text when it is read, from the characters around the chunk, so that an index
          holds nothing but chunks. A window is widened sentence by sentence on both sides while it has at most
          `max_chars` characters. A heading, and what is shorter than 40 characters, is searched with what follows.
Left out: windows that end where a section does.
Try it:   genwerk index build ./docs --chunker window
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from genwerk.core.types import Chunk, Document
from genwerk.data.sections import split_sections
from genwerk.retrieval.chunking import Limits, chunks_of, sentence_marks

__all__ = ["SentenceChunker", "SentenceWindow"]

_SHORTEST = 40


class SentenceChunker:
    """Chunks of `sentences` sentences each, counted anew in every section."""

    def __init__(self, limits: Limits, sentences: int = 1) -> None:
        self._limits, self._sentences = limits, sentences

    def chunk(self, document: Document) -> list[Chunk]:
        """Chunks in order, tiling the text."""
        text = document.text
        marks = [
            section.start + mark
            for section in split_sections(document)
            for mark in sentence_marks(text[section.start : section.end])[: -1 : self._sentences]
        ]
        spans = self._limits.joined([*marks, len(text)], _SHORTEST) if marks else []
        return chunks_of(document, self._limits.fit(text, spans))


class SentenceWindow:
    """What is read where a chunk was found: up to `around` sentences more on each side, `max_chars` in all."""

    def __init__(self, around: int, max_chars: int) -> None:
        self._around, self._max_chars = around, max_chars

    def __call__(self, document: Document, chunk: Chunk) -> Chunk:
        """The window of a chunk; the chunk itself where nothing fits beside it."""
        text, start, end = document.text, chunk.start, chunk.end
        lowest, most = max(0, end - self._max_chars), 2 * self._max_chars
        first = max(text.rfind("\n", 0, lowest) + 1, lowest - most, 0)  # a line's start, where one is near
        marks = [first + mark for mark in sentence_marks(text[first : start + most])]
        for _ in range(self._around):
            before = marks[max(0, bisect_left(marks, start) - 1)]
            if before < start and end - before <= self._max_chars:
                start = before
            after = marks[min(len(marks) - 1, bisect_right(marks, end))]
            if after > end and after - start <= self._max_chars:
                end = after
        return Chunk(chunk.document_id, start, end)
