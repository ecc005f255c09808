"""Silence is said in the language of the question."""

from __future__ import annotations

import pytest

from genwerk.retrieval.replies import ABSTAIN_TEXT, REPLIES, language_of_text, replies_in


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How long is the Elbe?", "en"),
        ("Wie lang ist die Elbe?", "de"),
        ("Und unter Windows?", "de"),
        ("And on Windows?", "en"),
        ("Welche Frist gilt für Kündigungen?", "de"),
        ("Kündigungsfrist Mietvertrag", "de"),
        ("notice period rental contract", "en"),
        ("Quelle est la longueur totale du fleuve et de ses affluents ?", "fr"),
        ("", "en"),
        ("?!", "en"),
    ],
)
def test_the_language_of_a_question(text: str, language: str) -> None:
    assert language_of_text(text) == language


def test_every_language_has_its_own_words_and_others_get_english() -> None:
    assert all(language_of_text(text) == code for code, one in REPLIES.items() for text in (one.abstain, one.held_back))
    assert replies_in("fr").abstain == ABSTAIN_TEXT
