"""From chunks that were found to passages that are read and cited, where an index searches less than it shows.

    found ─ each widened as the index says (sentence_window.py, parent_child.py) ─ no character twice ─ passages

A passage holds the chunk it was found by, keeps its rank and score, and is one span of the document, so that a citation
of it is cut out of the document as ever.

Chosen:   a chunk that stands in a better passage adds nothing and is left out; a passage ends where a better one
          begins. So passages never grow beyond what the index allows, however many are found side by side.
Try it:   python benchmarks/chunkers.py --quick --chunkers window parent
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from genwerk.core.types import Chunk, Retrieved
from genwerk.retrieval.index import Index
from genwerk.retrieval.index_config import IndexConfig

__all__ = ["Reader"]


class Reader:
    """Reads passages from one index. Any thread may use it."""

    def __init__(self, index: Index) -> None:
        self._index, self._reading = index, IndexConfig.of(index.meta).reading()

    def read(self, found: Sequence[Retrieved]) -> tuple[Retrieved, ...]:
        """Passages that overlap nowhere, in the order of `found`, best first."""
        if self._reading is None:
            return tuple(found)
        passages: list[Retrieved] = []
        taken: dict[str, list[Chunk]] = defaultdict(list)
        for item in found:
            document = self._index.document(item.chunk.document_id)
            span = _without(self._reading(document, item.chunk), item.chunk, taken[document.id])
            if span is not None:
                taken[document.id].append(span)
                passages.append(replace(item, chunk=span))
        return tuple(passages)


def _without(span: Chunk, chunk: Chunk, taken: Sequence[Chunk]) -> Chunk | None:
    """The part of `span` around `chunk` that is not taken; None where nothing is left of the chunk itself."""
    start, end = span.start, span.end
    for other in taken:
        if other.start <= chunk.start:
            start = max(start, other.end)
        else:
            end = min(end, other.start)
    return Chunk(span.document_id, start, end) if start < chunk.end and end > chunk.start and start < end else None
