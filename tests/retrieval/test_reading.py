"""Passages that are read overlap nowhere, hold what they were found by, and are cited from the document itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genwerk.core.types import Document, Message, Retrieved
from genwerk.retrieval.answer_config import AnswerConfig
from genwerk.retrieval.answering import Answerer, Passages, Sentence
from genwerk.retrieval.citations import verify
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.index import Index
from genwerk.retrieval.index_config import IndexConfig
from genwerk.retrieval.reading import Reader
from genwerk.retrieval.search import Searcher
from genwerk.retrieval.store import FILE_NAME, write_store

TEXT = "# Bees\n\n" + " ".join(f"Sentence {n} tells of bees and honey." for n in range(12)) + (
    "\n\n# Trains\n\nTrains of all kinds run on rails of steel. The express to Hamburg leaves at noon. "
    "Tickets for all of them are bought before boarding.\n"
)  # fmt: skip


class Encoder:
    """An embedder with a window and tokens, which are words."""

    window = 10_000

    def __init__(self, embedder: TextEncoder) -> None:
        self.identity, self.dimension, self.embed = embedder.identity, embedder.dimension, embedder.embed

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) + 2 for text in texts]


Open = Callable[[IndexConfig], Index]


@pytest.fixture
def opened(tmp_path: Path, encoder: TextEncoder) -> Open:
    def make(config: IndexConfig) -> Index:
        document, wide = Document.create("notes.md", TEXT), Encoder(encoder)
        chunks = config.chunker_for(wide).chunk(document)  # type: ignore[arg-type]
        vectors = encoder.embed(config.texts_for(wide)(document, chunks))  # type: ignore[arg-type]
        meta = {"embedder": encoder.identity, "chunking": config.described}
        write_store(tmp_path / FILE_NAME, [document], chunks, vectors, meta)
        return Index.open(tmp_path)

    return make


@pytest.fixture(
    params=[{"chunker": "window", "around": 2}, {"chunker": "window", "max_chars": 90},
            {"chunker": "parent", "max_chars": 200, "child_chars": 50}],
    ids=str,
)  # fmt: skip
def index(request: pytest.FixtureRequest, opened: Open) -> Index:
    return opened(IndexConfig.parse(request.param))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_passages_overlap_nowhere_and_hold_every_chunk_that_was_found(index: Index, data: st.DataObject) -> None:
    chunks = list(index.chunks)
    found = [Retrieved(chunk, 1.0 / rank, "dense") for rank, chunk in enumerate(data.draw(st.permutations(chunks)), 1)]
    found = found[: data.draw(st.integers(0, len(chunks)))]
    passages = Reader(index).read(found)
    spans = sorted((one.chunk.start, one.chunk.end) for one in passages)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    for item in found:
        assert any(start < item.chunk.end and item.chunk.start < end for start, end in spans)
    scores = [one.score for one in passages]
    assert scores == sorted(scores, reverse=True) and set(scores) <= {item.score for item in found}
    longest = IndexConfig.of(index.meta).max_chars
    assert all(end - start <= longest for start, end in spans)


def test_where_chunks_are_read_themselves_nothing_changes(opened: Open) -> None:
    index = opened(IndexConfig(max_chars=60, min_chars=0))
    found = [Retrieved(chunk, 1.0, "bm25") for chunk in index.chunks]
    assert Reader(index).read(found) == tuple(found)


def test_an_answer_reads_and_cites_the_window_around_what_was_found(opened: Open, encoder: TextEncoder) -> None:
    index = opened(IndexConfig(chunker="window", around=1))
    searcher = Searcher(index, encoder)
    prompts: list[str] = []

    def model(request: object) -> list[object]:
        prompts.append(request.messages[-1].content)  # type: ignore[attr-defined]
        return []

    answerer = Answerer(index, searcher, model, None, config=AnswerConfig(passages=1))  # type: ignore[arg-type]
    events = list(answerer.answer([Message("user", "When does the express to Hamburg leave?")]))
    passages = next(event for event in events if isinstance(event, Passages))
    (read,) = passages.results
    (chunk,) = searcher.search("When does the express to Hamburg leave?", 1)
    assert "run on rails" not in index.chunk_text(chunk.chunk)
    assert replace(read, chunk=chunk.chunk) == chunk
    shown = TEXT[read.chunk.start : read.chunk.end]
    assert "run on rails" in shown and "before boarding" in shown and "run on rails" in prompts[0]
    citations = [event.citation for event in events if isinstance(event, Sentence) and event.citation]
    assert citations and all(verify(one, index.document(one.document_id)) for one in citations)
