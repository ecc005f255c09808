"""Cutting a collection so that a killed build goes on where it was.

Most chunkers take seconds for a collection; one that embeds every sentence to find where meaning turns takes longer
than embedding the chunks. What was cut is written to the scratch folder every ten seconds, as the ends of chunks by
document, and found there by the next attempt.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from genwerk.core.atomic import write_json
from genwerk.core.progress import track
from genwerk.core.types import Chunk, Document
from genwerk.retrieval.chunking import Chunker, chunks_of

__all__ = ["cut_resumable"]

_KEPT_EVERY_SECONDS = 10.0


def cut_resumable(chunker: Chunker, documents: Sequence[Document], scratch: Path) -> Iterator[list[Chunk]]:
    """Chunks of each document in turn."""
    known: dict[str, list[int]] = {}
    for kept in sorted(scratch.glob("cuts-*.json")):
        known |= json.loads(kept.read_text(encoding="utf-8"))
    fresh: dict[str, list[int]] = {}
    saved = time.monotonic()
    with track("cutting", total=len(documents), unit="documents") as bar:
        for place, document in enumerate(documents):
            if document.id in known:
                yield chunks_of(document, pairwise([0, *known[document.id]]))
            else:
                chunks = chunker.chunk(document)
                fresh[document.id] = [chunk.end for chunk in chunks]
                yield chunks
            if fresh and time.monotonic() - saved >= _KEPT_EVERY_SECONDS:
                write_json(scratch / f"cuts-{place:08d}.json", fresh)
                fresh, saved = {}, time.monotonic()
            bar.advance()
