"""Chunks tile their text whatever it is, keep their size, and cut where the author paused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.errors import ConfigError
from genwerk.core.types import Document
from genwerk.retrieval.chunking import Limits, RecursiveChunker

PIECES = [
    "word",
    "Längeres",
    "end. ",
    "\n",
    "\n\n",
    "  ",
    "# Title\n",
    "x" * 90,
    "1.5",
    "! ",
    "é",
    "👩‍👩‍👧",
    "\t",
    "- item\n",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=60).map("".join)


def document(text: str, source: str = "notes.md") -> Document:
    return Document.create(source, text)


def pieces(chunker: RecursiveChunker, text: str) -> list[str]:
    return [text[chunk.start : chunk.end] for chunk in chunker.chunk(document(text))]


@given(TEXTS, st.integers(1, 80), st.integers(0, 80), st.sampled_from(["a.md", "a.rst", "a.py", "a.txt"]))
def test_chunks_tile_the_text_and_keep_their_size(text: str, max_chars: int, min_chars: int, source: str) -> None:
    chunker = RecursiveChunker(Limits(max_chars=max_chars, min_chars=min(min_chars, max_chars)))
    chunks = chunker.chunk(document(text, source))
    assert "".join(text[chunk.start : chunk.end] for chunk in chunks) == text
    assert all(0 < chunk.end - chunk.start <= max_chars for chunk in chunks)


@given(TEXTS, st.integers(3, 20))
def test_no_chunk_is_longer_than_the_window(text: str, max_tokens: int) -> None:
    def count(texts: list[str]) -> list[int]:  # three tokens a letter that is not ASCII, one any other, two around
        return [2 + sum(1 if character.isascii() else 3 for character in item) for item in texts]

    window = max(max_tokens, 5)
    chunker = RecursiveChunker(Limits(max_chars=60, min_chars=10, count_tokens=count, max_tokens=window))  # type: ignore[arg-type]
    found = pieces(chunker, text)
    assert "".join(found) == text
    assert all(count([piece])[0] <= window for piece in found)


def test_sections_come_first_then_paragraphs_then_sentences_then_words() -> None:
    first = "# Alpha\n\n" + "One sentence stands here. " * 4
    second = "\n\n# Beta\n\nShort text under the second heading, long enough to stand."
    assert pieces(RecursiveChunker(Limits(max_chars=200, min_chars=20)), first + second)[1].startswith("# Beta")

    paragraphs = "First paragraph. It has two sentences.\n\nSecond paragraph. It has two as well."
    assert pieces(RecursiveChunker(Limits(max_chars=60, min_chars=0)), paragraphs) == [
        "First paragraph. It has two sentences.\n\n", "Second paragraph. It has two as well.",
    ]  # fmt: skip
    assert pieces(RecursiveChunker(Limits(max_chars=25, min_chars=0)), "First one here. Second one here. Third.") == [
        "First one here. ", "Second one here. Third.",
    ]  # fmt: skip
    assert pieces(RecursiveChunker(Limits(max_chars=12, min_chars=0)), "alpha beta gamma") == ["alpha ", "beta gamma"]


def test_a_lone_heading_stays_with_what_follows() -> None:
    text = "# Part\n\n## Chapter\n\n" + "Something is said here. " * 10 + "\n\n## Next\n\n" + "More is said here. " * 12
    found = pieces(RecursiveChunker(Limits(max_chars=400, min_chars=60)), text)
    assert len(found) == 2
    assert found[0].startswith("# Part\n\n## Chapter\n\nSomething")


def test_the_end_of_a_section_is_no_stray_half_line() -> None:
    text = " ".join(f"Sentence number {n} is here." for n in range(30))
    sizes = [len(piece) for piece in pieces(RecursiveChunker(Limits(max_chars=250, min_chars=50)), text)]
    assert min(sizes) > 100


def test_marks_stay_with_their_letter_in_a_text_without_spaces() -> None:
    text = "e\u0301" * 40
    assert all(
        not piece.startswith("\u0301") for piece in pieces(RecursiveChunker(Limits(max_chars=7, min_chars=0)), text)
    )


def test_nothing_has_no_chunks_and_impossible_sizes_are_refused() -> None:
    assert RecursiveChunker(Limits()).chunk(document("")) == []
    with pytest.raises(ConfigError, match="min_chars"):
        RecursiveChunker(Limits(max_chars=10, min_chars=20))
