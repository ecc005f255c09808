"""Sentences: spans are exact, and stops that end nothing do not cut."""

from __future__ import annotations

import pydoc_data.topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.data.sentences import split_sentences


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


@given(st.text(alphabet=st.sampled_from("aB1 .!?\n\"'()[]-*#|>=…。é\t"), max_size=200))
def test_spans_are_ordered_stripped_and_lose_no_letter(text: str) -> None:
    position = 0
    for start, end in split_sentences(text):
        assert position <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert not any(character.isalnum() for character in text[position:start])
        position = end
    assert not any(character.isalnum() for character in text[position:])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("See e.g. Smith. Dr. J. Smith agrees.", ["See e.g. Smith.", "Dr. J. Smith agrees."]),
        ("Das gilt z.B. Montags. Am 3. Oktober ist frei.", ["Das gilt z.B. Montags.", "Am 3. Oktober ist frei."]),
        ("Pi is 3.14 in v1.2.3 today. Next.", ["Pi is 3.14 in v1.2.3 today.", "Next."]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("It holds. [1] So does this [2]. End.", ["It holds. [1]", "So does this [2].", "End."]),
        ("It stopped. and went on.", ["It stopped. and went on."]),
        ("# Title\nText here.\n- item one\n- item two", ["# Title", "Text here.", "- item one", "- item two"]),
        ("Title\n=====\n\nwrapped\nline. Next one.", ["Title", "wrapped\nline.", "Next one."]),
        ("| a | b |\n| c | d |", ["| a | b |", "| c | d |"]),
        (">>> f(1). X\n2", [">>> f(1). X", "2"]),
        ("1. First point. More.\n2. Second.", ["1. First point.", "More.", "2. Second."]),
        ("これは文です。次の文です。", ["これは文です。", "次の文です。"]),
        ("", []),
        ("---\n\n***", []),
    ],
)
def test_known_texts_are_cut_as_a_reader_would(text: str, wanted: list[str]) -> None:
    assert sentences(text) == wanted


def test_python_reference_sentences_end_where_they_should() -> None:
    found = sentences(pydoc_data.topics.topics["with"])
    assert "6. The suite is executed." in found
    assert any(sentence.startswith("The context manager’s") or "__enter__" in sentence for sentence in found)
    assert all(len(sentence) < 1200 for sentence in found)
