"""Parents and children: small pieces are searched, the larger piece they were cut from is read.

Source: as `ParentDocumentRetriever` of LangChain (2023); Callan (1994), Passage-level evidence in document retrieval.

    parents    chunks of at most `max_chars` characters, cut as in chunking.py
    children   of at most `child_chars`, each cut from one parent: what is embedded and searched

Chosen:   a parent is never stored: the same text is cut into the same parents when one is read. Parents are limited in
          characters only, for no encoder reads them.
Left out: more than two generations.
Try it:   genwerk index build ./docs --chunker parent
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from genwerk.core.types import Chunk, Document
from genwerk.retrieval.chunking import Limits, RecursiveChunker, chunks_of

__all__ = ["ChildChunker", "Parents"]

_CACHED_DOCUMENTS = 64


class ChildChunker:
    """Chunks of at most `child_chars` characters that lie in one parent each; `limits` are the parents'."""

    def __init__(self, limits: Limits, child_chars: int = 250) -> None:
        smaller = min(child_chars, limits.max_chars)
        self._parents = RecursiveChunker(Limits(max_chars=limits.max_chars, min_chars=limits.min_chars))
        self._children = replace(limits, max_chars=smaller, min_chars=min(limits.min_chars, smaller))

    def chunk(self, document: Document) -> list[Chunk]:
        """Children in order, tiling the text."""
        parents = [(parent.start, parent.end) for parent in self._parents.chunk(document)]
        return chunks_of(document, self._children.fit(document.text, parents))


class Parents:
    """What is read where a child was found: its parent. Any thread may use it."""

    def __init__(self, max_chars: int, min_chars: int) -> None:
        self._chunker = RecursiveChunker(Limits(max_chars=max_chars, min_chars=min_chars))
        self._known: dict[str, list[Chunk]] = {}

    def __call__(self, document: Document, chunk: Chunk) -> Chunk:
        """The parent of a chunk."""
        parents = self._known.get(document.id)
        if parents is None:
            if len(self._known) >= _CACHED_DOCUMENTS:
                self._known.clear()
            parents = self._known[document.id] = self._chunker.chunk(document)
        return parents[bisect_right(parents, chunk.start, key=lambda parent: parent.start) - 1]
