"""Summaries: every sentence is said by the document, long ones are reduced level by level, coverage is counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from genwerk.core.errors import DataError
from genwerk.core.types import Document, Request, Usage
from genwerk.data.sentences import split_sentences
from genwerk.inference.engine import Delta
from genwerk.retrieval.citations import verify
from genwerk.retrieval.summarise import SummariseConfig, summarise

NAMES = ["Bread", "Bees", "Trains", "Rivers", "Chess", "Paper", "Glass", "Salt", "Wool", "Copper", "Maps", "Clocks"]
TEXT = "\n\n".join(
    f"# {name}\n\nAll about {name.lower()} was written in the year {1900 + number}. "
    f"People use {name.lower()} in exactly {number + 2} countries. It is kept in room {number + 7} of the large house."
    for number, name in enumerate(NAMES)
)
DOCUMENT = Document.create("things.md", TEXT)


class Copyist:
    """Says the first sentence that it is shown, and one that is not true."""

    def __init__(self, *, lies: bool = False) -> None:
        self.lies, self.requests = lies, list[Request]()

    def __call__(self, request: Request) -> Iterator[Delta]:
        self.requests.append(request)
        shown = request.messages[-1].content
        said = [shown[start:end] for start, end in split_sentences(shown) if len(shown[start:end].split()) > 4][:1]
        text = " ".join([*(said if not self.lies else []), "Everything was invented by pirates in 1066."])
        yield Delta(text, 0, None, "stop", Usage(1, 1))


@pytest.mark.parametrize("lies", [False, True])
@pytest.mark.parametrize("sentences", [1, 5, 8])
def test_every_sentence_is_said_by_the_document(encoder, lies: bool, sentences: int) -> None:  # type: ignore[no-untyped-def]
    config = SummariseConfig(sentences=sentences, piece_chars=250)
    model = Copyist(lies=lies)
    summary = summarise(DOCUMENT, model, encoder, config)
    assert len(summary.statements) == sentences
    starts = [statement.citation.start for statement in summary.statements]
    assert starts == sorted(set(starts))
    for statement in summary.statements:
        assert verify(statement.citation, DOCUMENT) and "pirates" not in statement.text
        assert statement.written is not lies
    assert len(summary.outline) == len(NAMES)
    assert summary.coverage == len({TEXT.rfind("#", 0, start) for start in starts}) / len(NAMES)
    assert len(model.requests) > len(NAMES)  # the pieces, then the groups


def test_where_the_model_fails_every_section_is_still_quoted_once(encoder) -> None:  # type: ignore[no-untyped-def]
    summary = summarise(DOCUMENT, Copyist(lies=True), encoder, SummariseConfig(sentences=12, piece_chars=250))
    assert summary.coverage == summary.outline_coverage == 1.0
    assert [one.section.title for one in summary.outline] == NAMES


def test_a_section_longer_than_a_prompt_is_cut_between_sentences(encoder) -> None:  # type: ignore[no-untyped-def]
    text = "# Long\n\n" + " ".join(f"Sentence number {number} says something about pumps." for number in range(60))
    model = Copyist()
    summary = summarise(Document.create("long.md", text), model, encoder, SummariseConfig(piece_chars=300))
    pieces = [request.messages[-1].content for request in model.requests]
    assert max(map(len, pieces)) <= 500 and all(piece.rstrip().endswith("pumps.") for piece in pieces)
    assert summary.coverage == 1.0 and len(summary.statements) == 8


def test_a_german_document_is_asked_for_in_german_and_nothing_to_say_is_an_error(encoder) -> None:  # type: ignore[no-untyped-def]
    model = Copyist()
    summarise(Document.create("de.md", "# Pumpe\n\nDie Pumpe wird mit dem roten Knopf abgestellt."), model, encoder)
    assert model.requests[0].messages[0].content.startswith("Fasse den Text")
    with pytest.raises(DataError, match="nothing to summarise"):
        summarise(Document.create("code.md", "# Only\n\n| a | b |\n"), model, encoder)
