"""The nearest term is the one that counting by hand gives, nothing near is missed, and nothing hidden is guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.types import Document
from genwerk.retrieval.search import Correction, Options, Searcher
from genwerk.retrieval.spelling import Vocabulary, allowed_mistakes, mistakes, nearest

TERMS = st.text("abcdé字", min_size=1, max_size=9)


def by_hand(one: str, other: str) -> int:
    """Optimal string alignment, as it stands in the header."""
    table = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            same = one[i - 1] == other[j - 1]
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (not same))
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


@given(word=TERMS, terms=st.lists(TERMS, min_size=1, max_size=12), most=st.integers(1, 3))
def test_mistakes_are_those_counted_by_hand(word: str, terms: list[str], most: int) -> None:
    found = mistakes(word, np.array(terms), most).tolist()
    for term, number in zip(terms, found, strict=True):
        expected = by_hand(word, term)
        assert number == expected if expected <= most else number > most


@given(word=TERMS, terms=st.sets(TERMS, max_size=20), most=st.integers(1, 2))
def test_nothing_near_is_missed(word: str, terms: set[str], most: int) -> None:
    held = Vocabulary.of(terms)
    assert [held[place] for place in range(len(held))] == sorted(terms, key=str.encode)
    counted = {term: by_hand(word, term) for term in terms if most < 2 or term[0] == word[0]}
    assert held.near(word, most) == {term: number for term, number in counted.items() if number <= most}
    assert held.longer(word) == {term for term in terms if term.startswith(word) and term != word}


def test_the_best_of_what_is_seen_is_taken() -> None:
    held = [Vocabulary.of(["temple", "tempo", "temper", "configur"]), Vocabulary.of(["tempfil", "sea"])]
    counts = {"temple": 3, "tempo": 9, "temper": 9, "configur": 1, "tempfil": 2, "sea": 5}
    assert nearest("tmepfile", "tmepfil", held, counts.__getitem__) == ("tempfil", 1)
    assert nearest("tempor", "tempor", held, counts.__getitem__) == ("temper", 1)  # among equals by the alphabet
    assert nearest("config", "config", held, counts.__getitem__) == ("configur", 2)
    assert nearest("conf", "conf", held, counts.__getitem__) == ("configur", 2)
    assert (
        nearest("se", "se", held, counts.__getitem__) is None
        and nearest("1095", "1095", held, counts.__getitem__) is None
    )
    assert nearest("tempor", "tempor", held, lambda term: int(term == "tempfil")) is None
    assert [allowed_mistakes(term) for term in ("ab", "abc", "abcde", "abcdef", "abc1ef")] == [0, 1, 1, 2, 0]


def test_it_is_kept_on_disk(tmp_path: Path) -> None:
    held = Vocabulary.of(["b", "a", "äöü", "字"])
    held.save(tmp_path)
    loaded = Vocabulary.load(tmp_path)
    assert [loaded[place] for place in range(4)] == ["a", "b", "äöü", "字"] and loaded.near("äöx", 1) == {"äöü": 1}
    np.save(tmp_path / "vocabulary-ends.npy", np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match="belong together"):
        Vocabulary.load(tmp_path)


@pytest.fixture
def searcher(make_index, topics, encoder) -> Searcher:  # type: ignore[no-untyped-def]
    return Searcher(make_index(topics), encoder)


def test_a_word_that_nothing_holds_is_looked_up_and_told(searcher: Searcher, topics: list[Document]) -> None:
    asked = "kilometers of the Eble"
    found = searcher.look(asked, 1, "bm25", options=Options(spelling=True))
    assert found.corrections == (Correction("kilometers", "kilometres"), Correction("eble", "elbe"))
    assert str(found.corrections[1]) == "searched for 'elbe' instead of 'eble'"
    assert searcher.index.document(found.results[0].chunk.document_id).source == "rivers.md"
    assert searcher.search(asked, 1, "bm25") == [] and searcher.look(asked).corrections == ()
    assert found.signals.coverage == 0.0, "a guess is no sign that the answer is there"


def test_what_is_hidden_is_never_guessed(searcher: Searcher) -> None:
    options = Options(spelling=True)
    hidden = searcher.look("nectra", 3, "bm25", options=options)
    assert hidden.corrections == () and hidden.results == ()
    shown = searcher.look("nectra", 3, "bm25", groups=["keepers"], options=options)
    assert shown.corrections == (Correction("nectra", "nectar"),) and len(shown.results) == 1


@settings(deadline=None, max_examples=40)
@given(query=st.text(max_size=40))
def test_any_text_can_be_misspelled(query: str) -> None:
    for word in query.split():
        Vocabulary.of(["bread", "oven"]).near(word, allowed_mistakes(word) or 1)
