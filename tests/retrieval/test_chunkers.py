"""One contract for every chunker: chunks tile the text, keep their size and are the same again; passages hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.errors import ConfigError
from genwerk.core.types import Chunk, Document
from genwerk.data.sections import split_sections
from genwerk.retrieval import cutting
from genwerk.retrieval.chunking import Chunker, Limits, RecursiveChunker, sentence_marks
from genwerk.retrieval.index_config import CHUNKERS, IndexConfig
from genwerk.retrieval.parent_child import ChildChunker, Parents
from genwerk.retrieval.semantic import SemanticChunker
from genwerk.retrieval.sentence_window import SentenceChunker, SentenceWindow
from genwerk.retrieval.structural import StructuralChunker

PIECES = [
    "word", "Längeres", "end. ", "Next one. ", "\n", "\n\n", "  ", "# Title\n", "## Part\n\n", "\n\n### Detail\n",
    "x" * 90, "1.5", "! ", "é", "👩‍👩‍👧", "\t", "- item\n", "Name\n====\n\n", "e\u0301",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=60).map("".join)
SOURCES = st.sampled_from(["a.md", "a.rst", "a.py", "a.txt"])


class Letters:
    """An embedder of a window of 20 tokens (one a letter, three where it is not ASCII) and vectors by chance."""

    identity, dimension, window = "letters", 8, 20

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [2 + sum(1 if character.isascii() else 3 for character in text) for text in texts]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=self.dimension) for seed in seeds])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Wide(Letters):
    window = 10_000


def chunker_of(config: IndexConfig, embedder: Letters) -> Chunker:
    return config.chunker_for(embedder)  # type: ignore[arg-type]


@st.composite
def configs(draw: st.DrawFn) -> IndexConfig:
    values = {
        "level": draw(st.integers(0, 4)), "percentile": draw(st.floats(0, 100)), "sentences": draw(st.integers(1, 3)),
        "around": draw(st.integers(0, 4)), "child_chars": draw(st.integers(20, 90)),
    }  # fmt: skip
    name = draw(st.sampled_from(sorted(CHUNKERS)))
    told = {key: values[key] for key in CHUNKERS[name]}
    sizes = {"max_chars": draw(st.integers(50, 200)), "min_chars": draw(st.integers(0, 100))}
    return IndexConfig(chunker=name, **told, **sizes)


@settings(max_examples=60)
@given(TEXTS, SOURCES, configs())
def test_chunks_tile_the_text_keep_their_size_and_are_the_same_again(
    text: str, source: str, config: IndexConfig
) -> None:
    document = Document.create(source, text)
    for embedder in (Wide(), Letters()):
        chunks = chunker_of(config, embedder).chunk(document)
        assert [chunk.start for chunk in chunks] == ([0, *(chunk.end for chunk in chunks)][:-1] if chunks else [])
        assert "".join(text[chunk.start : chunk.end] for chunk in chunks) == text
        longest = config.child_chars if config.chunker == "parent" else config.max_chars
        assert all(0 < chunk.end - chunk.start <= longest for chunk in chunks)
        counts = embedder.count_tokens([text[chunk.start : chunk.end] for chunk in chunks])
        assert all(count <= embedder.window for count in counts)
        assert chunker_of(config, embedder).chunk(Document.create(source, text)) == chunks


@settings(max_examples=60)
@given(TEXTS, SOURCES, configs())
def test_what_is_read_holds_what_was_found(text: str, source: str, config: IndexConfig) -> None:
    document, reading = Document.create(source, text), config.reading()
    for chunk in chunker_of(config, Letters()).chunk(document):
        read = reading(document, chunk) if reading else chunk
        assert read.document_id == document.id
        assert 0 <= read.start <= chunk.start < chunk.end <= read.end <= len(text)
        assert read.end - read.start <= config.max_chars


@settings(max_examples=60)
@given(TEXTS, st.integers(1, 3), st.sampled_from(["a.md", "a.rst"]))
def test_no_chunk_crosses_a_heading_of_the_level(text: str, level: int, source: str) -> None:
    document = Document.create(source, text)
    chunks = StructuralChunker(Limits(120, 0), level).chunk(document)
    bodies = [(one.body, one.end) for one in split_sections(document)]
    for heading in split_sections(document):
        inside = [chunk for chunk in chunks if chunk.start < heading.start < chunk.end]
        for chunk in inside if 1 <= heading.level <= level else ():
            said = [text[max(first, chunk.start) : last] for first, last in bodies if last <= heading.start]
            assert not "".join(part for part in said).strip()


def test_branches_of_the_tree_stay_whole_where_they_fit() -> None:
    body = "Something is said about it here.\n\n"
    text = f"# Book\n\n{body}## Small\n\n{body}### Detail\n\n{body}"
    text += f"## Large\n\n{body * 3}### One\n\n{body}### Two\n\n{body * 4}## End\n\n{body}"
    document = Document.create("book.md", text)

    def titles(level: int, max_chars: int) -> list[list[str]]:
        chunks = StructuralChunker(Limits(max_chars, 0), level).chunk(document)
        return [
            [line.strip("# ") for line in text[chunk.start : chunk.end].split("\n") if line.startswith("#")]
            for chunk in chunks
        ]

    assert titles(2, 5000) == [["Book"], ["Small", "Detail"], ["Large", "One", "Two"], ["End"]]
    assert titles(2, 200) == [["Book"], ["Small", "Detail"], ["Large", "One"], ["Two"], ["End"]]
    assert titles(1, 200) == [["Book", "Small", "Detail"], ["Large", "One"], ["Two"], ["End"]]  # End is not under Large
    assert titles(0, 5000) == [["Book", "Small", "Detail", "Large", "One", "Two", "End"]]
    bare = Document.create("bare.md", f"# Book\n\n## Part\n\n{body}")
    assert len(StructuralChunker(Limits(500, 0), 2).chunk(bare)) == 1  # no chunk is a lone title


def test_meaning_breaks_where_sentences_turn_to_something_else() -> None:
    text = "Bees fly out. Bees come home. Bees sleep. Trains run late. Trains stop. Trains wait."
    document = Document.create("a.txt", text)

    def embed(texts: Sequence[str]) -> np.ndarray:  # what most of the three sentences are about
        return np.array([[1.0, 0.0] if text.count("Bees") > text.count("Trains") else [0.0, 1.0] for text in texts])

    for limits, percentile in ((Limits(500, 0), 70.0), (Limits(60, 0), 100.0)):  # by percentile, and by size alone
        chunks = SemanticChunker(limits, embed, percentile).chunk(document)
        assert [text[chunk.start :][:10] for chunk in chunks] == ["Bees fly o", "Trains run"]
    assert len(SemanticChunker(Limits(500, 0), embed, 100.0).chunk(document)) == 1
    assert len(SemanticChunker(Limits(500, 500), embed, 0.0).chunk(document)) == 1  # what is short is joined


def test_a_window_is_so_many_sentences_more_while_they_fit() -> None:
    text = "# Numbers\n\n" + " ".join(
        f"Here stands the sentence with the number {n}, and it ends now." for n in range(20)
    )
    document = Document.create("a.md", text)
    chunks = SentenceChunker(Limits(300, 0)).chunk(document)
    assert len(chunks) == 20 and text[chunks[0].start : chunks[0].end].startswith("# Numbers\n\nHere")

    def read(around: int, max_chars: int, place: int) -> list[int]:
        span = SentenceWindow(around, max_chars)(document, chunks[place])
        words = text[span.start : span.end].replace(",", "").split()
        return [int(word) for word in words if word.isdigit()]

    assert read(2, 1000, 10) == [8, 9, 10, 11, 12]
    assert read(2, 1000, 19) == [17, 18, 19]
    assert read(0, 1000, 5) == [5]
    assert read(5, 200, 10) == [9, 10, 11]
    threes = SentenceChunker(Limits(300, 0), 3).chunk(document)  # the heading is a sentence of its section
    assert [text[one.start : one.end].count("number") for one in threes] == [2, *[3] * 6]


def test_a_window_in_one_endless_line_is_found_near_the_chunk() -> None:
    text = "One more sentence stands here and goes on for a while. " * 3000
    document = Document.create("a.txt", text)
    middle = sentence_marks(text)[1500]
    read = SentenceWindow(2, 400)(document, Chunk(document.id, middle, middle + 55))
    assert (read.start, read.end) == (middle - 110, middle + 165)


def test_children_lie_in_one_parent_which_is_read() -> None:
    text = "\n\n".join(f"# Part {n}\n\n" + f"A sentence of part {n} stands here. " * 12 for n in range(4))
    document = Document.create("a.md", text)
    parents = RecursiveChunker(Limits(max_chars=500, min_chars=100)).chunk(document)
    children = ChildChunker(Limits(500, 100), 120).chunk(document)
    assert len(children) > 2 * len(parents)
    reading = Parents(500, 100)
    assert {reading(document, child) for child in children} == set(parents)
    assert all(reading(document, child).end >= child.end for child in children)


def test_a_config_says_which_keys_belong_to_its_chunker() -> None:
    with pytest.raises(ConfigError, match="around is for the chunker window, and the chunker is parent"):
        IndexConfig.parse({"chunker": "parent", "around": 5})
    with pytest.raises(ConfigError, match="recursive"):
        IndexConfig.parse({"chunker": "recursiv"})
    assert IndexConfig.of({"chunking": 'recursive {"max_chars": 600, "min_chars": 100}'}) == IndexConfig(
        max_chars=600, min_chars=100
    )
    assert IndexConfig.of({}) == IndexConfig()
    config = IndexConfig(chunker="window", around=1, headers=True)
    assert IndexConfig.of({"chunking": config.described}) == config


def test_what_was_cut_before_a_kill_is_not_cut_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_KEPT_EVERY_SECONDS", 0.0)
    documents = [Document.create(f"{n}.txt", f"Text of document {n}. " * (n + 1)) for n in range(4)]
    inner, seen = RecursiveChunker(Limits(max_chars=30, min_chars=0)), list[str]()

    class Dying:
        def chunk(self, document: Document) -> list[Chunk]:
            seen.append(document.source)
            if len(seen) == 3:
                raise KeyboardInterrupt
            return inner.chunk(document)

    with pytest.raises(KeyboardInterrupt):
        list(cutting.cut_resumable(Dying(), documents, tmp_path))
    assert list(cutting.cut_resumable(Dying(), documents, tmp_path)) == [inner.chunk(one) for one in documents]
    assert seen == ["0.txt", "1.txt", "2.txt", "2.txt", "3.txt"]
