"""The cited form: what is drawn under it is sentences that each end in the number of a passage."""

from __future__ import annotations

import pytest
from llguidance import LLMatcher, LLTokenizer

from genwerk.retrieval.citations import strip_markers
from genwerk.retrieval.cited_form import cited_form, marker_of


@pytest.fixture(scope="module")
def tokenizer() -> LLTokenizer:
    """One token a byte."""
    return LLTokenizer("byte")


def accepts(tokenizer: LLTokenizer, passages: int, text: str) -> bool:
    constraint = cited_form(passages)
    assert constraint.kind == "regex"
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_regex(constraint.value))
    for byte in text.encode():
        if not matcher.consume_token(byte):
            return False
    return bool(matcher.is_accepting())


@pytest.mark.parametrize(
    "text",
    [
        "The Elbe is long. [1]",
        "The Elbe is 1094.5 km long. [1] Is it? [2]",
        "Use names[0] and x, e.g. here. [3]",
        "Die Pumpe läuft z. B. ohne Öl. [2]",
    ],
)
def test_cited_sentences_are_in_the_form(tokenizer: LLTokenizer, text: str) -> None:
    assert accepts(tokenizer, 3, text)


@pytest.mark.parametrize(
    "text",
    [
        "The Elbe is long.",
        "The Elbe is long. It is wide. [1]",
        "The Elbe is long. [4]",
        "The Elbe is long. [0]",
        "The Elbe is long [1]",
        "[1]",
        "One. [1]\nTwo. [2]",
    ],
)
def test_others_are_not(tokenizer: LLTokenizer, text: str) -> None:
    assert not accepts(tokenizer, 3, text)


def test_markers_are_read_where_they_end_a_sentence() -> None:
    assert marker_of("It is long. [2]") == 2 and marker_of("It is long [12].") == 12
    assert marker_of("It [2] is long.") == 0 and marker_of("It is long.") == 0
    assert strip_markers("It is long. [2]") == "It is long."
