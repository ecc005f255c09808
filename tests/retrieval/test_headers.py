"""Headers hold what a chunk does not say itself, keep to the window, and are embedded but never stored."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.types import Chunk, Document
from genwerk.data.sections import section_paths, split_sections
from genwerk.retrieval.chunking import Limits, RecursiveChunker
from genwerk.retrieval.headers import Headers, header_parts

TEXT = """# Pump

The pump moves water.

## Cleaning

Switch it off.

### Filter

Take the filter out. Rinse it.

### Seal

Oil the seal.

## Storage

Keep it dry.
"""


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def manual(title: str = "Manual of the pump") -> Document:
    return Document.create("pump.md", TEXT, metadata={"title": title})


def chunk_of(document: Document, first: str, last: str) -> Chunk:
    return Chunk(document.id, TEXT.index(first), TEXT.index(last) + len(last))


def test_paths_are_the_headings_above() -> None:
    sections = split_sections(manual())
    assert [[one.title for one in path] for path in section_paths(sections)] == [
        ["Pump"], ["Pump", "Cleaning"], ["Pump", "Cleaning", "Filter"], ["Pump", "Cleaning", "Seal"],
        ["Pump", "Storage"],
    ]  # fmt: skip
    rst = Document.create("a.rst", "Preamble.\n\nOne\n===\n\nText.\n\nInner\n-----\n\nText.\n\nTwo\n===\n\nText.\n")
    assert [[one.title for one in path] for path in section_paths(split_sections(rst))] == [
        [], ["One"], ["One", "Inner"], ["Two"],
    ]  # fmt: skip


def test_a_header_is_what_stands_above_and_not_in_the_chunk() -> None:
    document = manual()

    def parts(first: str, last: str) -> list[str]:
        return header_parts(document, [chunk_of(document, first, last)])[0]

    assert parts("Rinse", "it.") == ["Manual of the pump", "Pump", "Cleaning", "Filter"]
    assert parts("### Filter", "Rinse it.") == ["Manual of the pump", "Pump", "Cleaning"]
    assert parts("Rinse", "the seal.") == ["Manual of the pump", "Pump", "Cleaning"]  # what both sections share
    assert parts("Oil the", "it dry.") == ["Manual of the pump", "Pump"]
    assert parts("# Pump", "water.") == ["Manual of the pump"]
    assert header_parts(manual("Pump"), [chunk_of(document, "Oil", "seal.")]) == [["Pump", "Cleaning", "Seal"]]


def test_the_nearest_heading_and_the_title_stay_longest() -> None:
    document = manual()
    chunk = chunk_of(document, "Rinse", "it.")
    assert TEXT[chunk.start : chunk.end] == "Rinse it."

    def header(room: int) -> str:
        return Headers(words, 2 + room)(document, [chunk])[0].removesuffix("Rinse it.").strip()

    assert header(10) == "Manual of the pump > Pump > Cleaning > Filter"
    assert header(8) == "Manual of the pump > Cleaning > Filter"
    assert header(7) == "Manual of the pump > Filter"
    assert header(5) == "Manual of the pump"
    assert header(3) == ""


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["# One\n", "## Two words\n", "### Three of it\n", "Some text. ", "\n\n"]), max_size=30),
    st.integers(20, 80),
    st.integers(3, 30),
)  # fmt: skip
def test_a_chunk_is_whole_and_within_the_window(pieces: list[str], max_chars: int, window: int) -> None:
    document = Document.create("notes.md", "".join(pieces))
    chunks = RecursiveChunker(Limits(max_chars=max_chars, min_chars=10, count_tokens=words, max_tokens=window)).chunk(
        document
    )
    texts = Headers(words, window)(document, chunks)
    assert len(texts) == len(chunks)
    for text, chunk in zip(texts, chunks, strict=True):
        assert text.endswith(document.text[chunk.start : chunk.end])
        assert words([text])[0] <= window
