"""Every span that is cited is cut out of its document again, and every citation that was tampered with is caught."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genwerk.core.types import Citation, Document
from genwerk.data.sentences import split_sentences
from genwerk.retrieval.citations import Passage, align, cite, may_be_shown, verify
from genwerk.retrieval.index import Index

TEXT = (
    "# Pump\n\nThe pump must be stopped before the valve is opened. The default timeout is 30 seconds.\n\n"
    "Only trained staff may open the housing. Model KX200 was built in Bremen.\n\nDer Filter ist nicht waschbar. "
    "Die Pumpe läuft 40 Tage – 🐝 ohne Öl."
)
PAGES = f'[[0,"page 1"],[{TEXT.index("Only")},"page 2"]]'
OPEN = Document.create("pump.pdf", TEXT, metadata={"places": PAGES})
COPY = Document.create("copy.pdf", TEXT, metadata={"places": PAGES})
HIDDEN = Document.create("secret.pdf", "Strictly for the board. " + TEXT, acl=("board",))
OLD = Document.create("pump.pdf", TEXT.replace("30", "60"), metadata={"places": PAGES})  # no longer in the index


@pytest.fixture
def index(make_index) -> Index:  # type: ignore[no-untyped-def]
    return make_index([OPEN, COPY, HIDDEN])


def planted(true: Citation, shift: int, place: int) -> dict[str, Citation]:
    """One false citation of each kind; `shift` and `place` say how."""
    quote = true.quote
    letter = "x" if quote[place % len(quote)] != "x" else "y"
    altered = quote[: place % len(quote)] + letter + quote[place % len(quote) + 1 :]
    shifted = {"start": true.start + shift, "end": true.end + shift}
    hidden = cite(HIDDEN, HIDDEN.text.index(quote), HIDDEN.text.index(quote) + len(quote))
    return {
        "altered quote": replace(true, quote=altered),
        "shifted span": replace(true, **shifted),
        "shifted span that swallows": replace(true, end=true.end + abs(shift)),
        "foreign document": replace(true, document_id=COPY.id),
        "foreign source": replace(true, source=COPY.source),
        "unknown document": replace(true, document_id="0" * 16),
        "hidden document": hidden,
        "other version": replace(true, sha256=OLD.sha256),
        "removed version": cite(OLD, true.start, true.end),
        "false page": replace(true, place="page 2" if true.place == "page 1" else "page 1"),
    }


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    sentence=st.sampled_from(split_sentences(TEXT)),
    shift=st.integers(-40, 40).filter(bool),
    place=st.integers(0, 200),
)
def test_true_citations_pass_and_planted_ones_are_caught(
    index: Index, sentence: tuple[int, int], shift: int, place: int
) -> None:
    true = cite(OPEN, *sentence)
    assert may_be_shown(true, index) and true.quote == TEXT[true.start : true.end]
    for kind, false in planted(true, shift, place).items():
        assert not may_be_shown(false, index), kind
    hidden = planted(true, shift, place)["hidden document"]
    assert may_be_shown(hidden, index, ("board",))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_all_that_align_returns_is_cut_out_again(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from([OPEN, HIDDEN]))
    spans = split_sentences(document.text)
    first = data.draw(st.integers(0, len(spans) - 1))
    last = data.draw(st.integers(first, len(spans) - 1))
    chunk = cite(document, spans[first][0], spans[last][1])
    passages = [Passage(_chunk(chunk), document)]
    for start, end in spans:
        found = align(document.text[start:end], passages)
        assert found is None or verify(found, document)
        assert found is None or (chunk.start <= found.start and found.end <= chunk.end)


def _chunk(citation: Citation):  # type: ignore[no-untyped-def]
    from genwerk.core.types import Chunk

    return Chunk(citation.document_id, citation.start, citation.end)
