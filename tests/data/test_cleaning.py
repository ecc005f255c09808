"""Language, filters, duplicates and the split: what stays stays for a reason, and copies never cross the split."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.types import Document
from genwerk.data.dedup import Deduplicator
from genwerk.data.filters import reject
from genwerk.data.language import choose_language, identify, unknown_languages
from genwerk.data.split import HELDOUT, TRAIN, assign_splits

GERMAN = "Die Pumpe wird wöchentlich gereinigt, damit das Wasser immer sauber bleibt und niemand krank wird."
ENGLISH = "The pump is cleaned every week so that the water always stays clean and nobody falls ill."
FRENCH = "La pompe est nettoyée chaque semaine pour que l'eau reste toujours propre et que personne ne tombe malade."


def test_languages_are_told_apart() -> None:
    assert [identify(text).code for text in (GERMAN, ENGLISH, FRENCH)] == ["de", "en", "fr"]
    assert unknown_languages(["de", "xx", "english"]) == ["xx", "english"]


def test_other_languages_go_and_unclear_texts_stay() -> None:
    language, stays = choose_language(FRENCH, ["de", "en"])
    assert (language.code, stays) == ("fr", False)
    for unclear in ("1.2.3", "x = f(y)", "Ok."):
        language, stays = choose_language(unclear, ["de", "en"])
        assert stays and language.code in {"de", "en"}
    assert choose_language(FRENCH, [])[1]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("short", "too short"),
        ("", "too short"),
        ("1 2 3 4 5 6 7 8 9 0 | " * 20, "mostly not letters"),
        ("x" * 3000 + " and some words of text follow here", "one endless word"),
        ("the same line again and again\n" * 100, "repeated lines"),
        (GERMAN, ""),
        ("漢字の文章がここにあります。" * 300, ""),
        ("| part | price |\n" + "".join(f"| seal number {n} | {n} euro |\n" for n in range(50)), ""),
    ],
)
def test_rules_drop_what_nobody_can_cite(text: str, rule: str) -> None:
    rejection = reject(text, min_chars=20)
    assert (rejection.rule if rejection else "") == rule


def test_copies_that_differ_in_white_space_are_found_and_named() -> None:
    seen = Deduplicator()
    assert seen.duplicate_of("a  b\nc", "one.txt") == ""
    assert seen.duplicate_of("a b c\n", "two.txt") == "one.txt"
    assert seen.duplicate_of("a b C", "three.txt") == ""


def _documents(count: int) -> list[Document]:
    draw = random.Random(count)
    words = [f"word{number}" for number in range(500)]
    return [Document.create(f"{n}.txt", " ".join(draw.choices(words, k=60))) for n in range(count)]


@given(st.integers(2, 60), st.floats(0.05, 0.5), st.randoms())
def test_neither_side_is_empty_and_order_does_not_matter(count: int, holdout: float, shuffle: random.Random) -> None:
    documents = _documents(count)
    splits = assign_splits(documents, holdout)
    assert set(splits.values()) == {TRAIN, HELDOUT}
    shuffle.shuffle(documents)
    assert assign_splits(documents, holdout) == splits


def test_the_share_held_out_is_about_what_was_asked() -> None:
    documents = _documents(200)
    splits = assign_splits(documents, 0.1)
    held = sum(len(document.text) for document in documents if splits[document.id] == HELDOUT)
    assert 0.09 < held / sum(len(document.text) for document in documents) < 0.12


def test_documents_with_common_paragraphs_are_on_one_side() -> None:
    shared = "A long paragraph that was copied from one page to the other, word for word, and is not a notice. " * 2
    plain = _documents(30)
    pairs = [(Document.create(f"a{n}", f"{shared}{n}\n\nOwn {n}."), Document.create(f"b{n}", f"Other.\n\n{shared}{n}"))
             for n in range(20)]  # fmt: skip
    splits = assign_splits([*plain, *(document for pair in pairs for document in pair)], 0.3)
    assert all(splits[one.id] == splits[other.id] for one, other in pairs)


def test_a_single_document_is_trained_on() -> None:
    (document,) = _documents(1)
    assert assign_splits([document], 0.5) == {document.id: TRAIN}
    assert assign_splits([], 0.5) == {}
