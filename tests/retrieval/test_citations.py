"""What is cited is said there: true sentences find their span, changed ones find none, planted citations are caught."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.types import Chunk, Citation, Document
from genwerk.data.sentences import split_sentences
from genwerk.retrieval.citations import Passage, align, cite, strip_markers, verify

TEXT = """# The pump

The pump must be stopped before the valve is opened. The default timeout is 30 seconds, and it is
retried 5 times. Pressure above 12.5 bar opens the relief valve.

Only trained staff may open the housing. The controller sends a report to the server every night.
The filter is not washable. Model KX200 was built in Bremen. If the lamp is red, the motor is off.
Usually the oil lasts two years. The expression `a < b` returns True. The cover was made by Meyer.
The level may fall by 5% in winter.
"""
DOCUMENT = Document.create("pump.md", TEXT)
WHOLE = [Passage(Chunk(DOCUMENT.id, 0, len(TEXT)), DOCUMENT)]


@pytest.mark.parametrize(
    ("sentence", "quote_starts"),
    [
        ("The pump must be stopped before the valve is opened.", "The pump must"),
        ("the PUMP must be stopped\n before the valve is opened [1].", "The pump must"),
        ("- The default timeout is 30 seconds, and it is retried 5 times. [2]", "The default timeout"),
        ("The default timeout is 30 seconds", "The default timeout"),
        ("Pressure above 12.5 bar opens the relief valve [1][3]!", "Pressure above"),
        ("The controller sends a report every night.", "The controller sends"),
        ("The filter is not washable.", "The filter is not"),
        ("Answer: Model KX200 was built in Bremen.", "Model KX200"),
        ("The expression `a < b` returns True.", "The expression"),
    ],
)
def test_what_is_said_there_is_cited(sentence: str, quote_starts: str) -> None:
    citation = align(sentence, WHOLE)
    assert citation is not None and citation.quote.startswith(quote_starts)
    assert verify(citation, DOCUMENT)
    assert (citation.start, citation.end) in [(s, e) for s, e in split_sentences(TEXT)]


@pytest.mark.parametrize(
    "sentence",
    [
        "The default timeout is 60 seconds, and it is retried 5 times.",  # another number
        "The default timeout is 5 seconds, and it is retried 30 times.",  # numbers swapped
        "Pressure above 12 bar opens the relief valve.",  # the beginning of a number
        "Pressure above 2.5 bar opens the relief valve.",  # the end of a number
        "Pressure below 12.5 bar opens the relief valve.",  # another order
        "The pump must be stopped after the valve is opened.",
        "The pump must not be stopped before the valve is opened.",  # a negation put in
        "The filter is washable.",  # a negation left out
        "Trained staff may open the housing.",  # a condition left out
        "The motor is off.",
        "The oil lasts two years.",  # a hedge left out
        "Usually the oil lasts three years.",
        "Model KX300 was built in Bremen.",  # another name
        "Model KX200 was built in Berlin.",
        "The server sends a report to the controller every night.",  # roles swapped
        "The expression `a > b` returns True.",  # another operator
        "The expression `a < b` returns False.",
        "The cover made Meyer.",
        "The level may fall by 5 in winter.",  # another unit
        "The controller sends an encrypted report to the server every night.",  # a detail put in
        "The pump is painted green.",  # nowhere said
        "The pump.",  # says nothing
        "[1]",
        "",
        "🐝🐝🐝",
    ],
)
def test_what_is_not_said_there_finds_nothing(sentence: str) -> None:
    assert align(sentence, WHOLE) is None


def test_the_span_lies_in_the_passage_even_where_the_document_says_more() -> None:
    start = TEXT.index("Only trained")
    passage = Passage(Chunk(DOCUMENT.id, start, len(TEXT)), DOCUMENT)
    assert align("The pump must be stopped before the valve is opened.", [passage]) is None
    citation = align("The filter is not washable.", [passage])
    assert citation is not None and TEXT[citation.start : citation.end] == "The filter is not washable."


def test_markers_are_taken_off_but_code_is_not() -> None:
    assert strip_markers("It is so [1], and so [2, 3]. [4]") == "It is so, and so."
    assert strip_markers("1. First point [12].") == "First point."
    assert strip_markers("Use names[0] and x[1:2] here") == "Use names[0] and x[1:2] here"


WORDS = [
    "pump",
    "valve",
    "not",
    "5",
    "12.5",
    "KX200",
    "opens",
    "the",
    "is",
    "\n",
    "\n\n",
    ". ",
    "! ",
    "é",
    "a<b",
    "[1]",
    "- ",
    "İ",
]
SOUP = st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=40).map(" ".join)


@given(SOUP, SOUP, st.integers(0, 60))
def test_every_citation_of_align_verifies(text: str, sentence: str, offset: int) -> None:
    document = Document.create("soup.txt", "Preface. " + text + " The end.")
    start = min(offset, len(document.text) - 1)
    passages = [Passage(Chunk(document.id, start, len(document.text)), document)]
    tried = [sentence, text[: len(text) // 2], *(document.text[a:b] for a, b in split_sentences(document.text)[:4])]
    for candidate in tried:
        citation = align(candidate, passages)
        assert citation is None or (verify(citation, document) and citation.start >= start)


def planted(citation: Citation) -> list[Citation]:
    change = dataclasses.replace
    return [
        change(citation, start=citation.start + 1),
        change(citation, end=citation.end - 1),
        change(citation, start=-1),
        change(citation, end=len(TEXT) + 5),
        change(citation, start=citation.end, end=citation.start),
        change(citation, quote=citation.quote + " "),
        change(citation, quote=citation.quote.replace("pump", "pump\u0301")),
        change(citation, quote=citation.quote.replace("before", "after")),
        change(citation, sha256="0" * 64),
        change(citation, document_id="0" * 16),
        change(citation, source="other.md"),
    ]


def test_planted_citations_are_caught() -> None:
    citation = align("The pump must be stopped before the valve is opened.", WHOLE)
    assert citation is not None and verify(citation, DOCUMENT)
    assert not any(verify(false, DOCUMENT) for false in planted(citation))
    edited = dataclasses.replace(DOCUMENT, text=TEXT.replace("30", "60"))  # the document changed, its record did not
    assert not verify(citation, edited)


@given(st.integers(0, len(TEXT)), st.integers(0, len(TEXT)))
def test_any_span_with_text_can_be_cited_and_verifies(a: int, b: int) -> None:
    start, end = sorted((a, b))
    if TEXT[start:end].strip():
        citation = cite(DOCUMENT, start, end)
        assert verify(citation, DOCUMENT) and citation.quote == TEXT[start:end].strip()


def test_a_citation_names_the_page_and_a_false_page_is_caught() -> None:
    pages = Document.create("pump.pdf", TEXT, metadata={"places": f'[[0,"page 1"],[{TEXT.index("Only")},"page 2"]]'})
    citation = cite(pages, TEXT.index("Only trained"), TEXT.index("housing.") + 8)
    assert citation.place == "page 2" and verify(citation, pages)
    assert not verify(dataclasses.replace(citation, place="page 1"), pages)
    both = cite(pages, TEXT.index("Pressure"), TEXT.index("housing.") + 8)
    assert both.place == "pages 1-2" and cite(DOCUMENT, 12, 40).place == ""
