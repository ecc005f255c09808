"""Terms: inflections meet, accents do not matter, and a question is looked up in every language of the collection."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from genwerk.retrieval.terms import forms_of, terms_of


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("en", "running trains", "RUN train"),
        ("de", "Häuser", "hauses"),
        ("fr", "CAFÉS", "café"),
        ("de", "straße", "STRASSE"),
        ("xx", "Ünïcode", "unicode"),
    ],
)
def test_forms_of_a_word_are_one_term(language: str, one: str, other: str) -> None:
    assert terms_of(one, language) == terms_of(other, language)


def test_numbers_keep_their_points_and_long_keys_their_beginning() -> None:
    assert terms_of("at 10:30, for 1,094.5 km; it's os.path_join") == [
        "at", "10:30", "for", "1,094.5", "km", "it", "s", "os", "path", "join",
    ]  # fmt: skip
    assert terms_of("f" * 100) == ["f" * 64]


def test_a_question_is_looked_up_in_every_language() -> None:
    assert forms_of("cities", {"en", "de"}) == ("citi",) and forms_of("Häusern", {"en", "de"}) == ("haus", "hausern")
    assert forms_of("oven", {"en", "xx"}) == ("oven",)
    assert forms_of("oven", set()) == ("oven",)


def test_any_thread_may_ask() -> None:
    words = [f"running{number} houses" for number in range(2000)]
    expected = [terms_of(word, "en") for word in words]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda word: terms_of(f"{word} {word}", "en"), words)) == [
            [*one, *one] for one in expected
        ]
