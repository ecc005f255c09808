"""BM25 ranks as bm25s does with the same terms, and gives nothing away of what a reader may not see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.retrieval import bm25
from genwerk.retrieval.bm25 import BM25, Segments
from genwerk.retrieval.postings import hash_of, load_postings, make_postings, save_postings

WORDS = st.sampled_from(
    ["the", "a", "bread", "bees", "train", "river", "oven", "sea", "flour", "queen", "rails", "lock"]
)
COLLECTION = st.lists(st.lists(WORDS, max_size=12), min_size=1, max_size=40)
QUERY = st.lists(WORDS, min_size=1, max_size=5, unique=True)


def scores_of(arm: BM25, terms: Sequence[str], n: int) -> np.ndarray:
    rows, found = arm.top(terms, n)
    scores = np.zeros(n)
    scores[rows] = found
    return scores


def test_one_term_by_hand() -> None:
    arm = BM25(Segments([make_postings([["bread", "bread", "oven"], ["sea"]])]))
    rows, found = arm.top(["bread"], 5)
    weight = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    assert rows.tolist() == [0]
    assert found[0] == pytest.approx(weight * 2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2)))


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (1.5, 0.75), (0.9, 0.4)])
def test_scores_are_those_of_bm25s(k1: float, b: float) -> None:
    draw = np.random.default_rng(0)
    names = [f"w{number}" for number in range(300)]
    chances = 1 / np.arange(1, 301)
    texts = [draw.choice(names, size=draw.integers(3, 60), p=chances / chances.sum()).tolist() for _ in range(400)]
    peer = bm25s.BM25(method="lucene", k1=k1, b=b, dtype="float64")
    peer.index(texts, show_progress=False)
    arm = BM25(Segments([make_postings(texts[:150]), make_postings(texts[150:])]), k1=k1, b=b)
    for _ in range(50):
        query = list(dict.fromkeys(draw.choice(names, size=4).tolist()))
        expected = peer.get_scores(query)
        assert np.abs(scores_of(arm, query, 400) - expected).max() < 1e-6


@given(collection=COLLECTION, query=QUERY, data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_hidden_changes_nothing(collection: list[list[str]], query: list[str], data: st.DataObject) -> None:
    seen = np.array(data.draw(st.lists(st.booleans(), min_size=len(collection), max_size=len(collection))), dtype=bool)
    alone = BM25(Segments([make_postings([terms for terms, kept in zip(collection, seen, strict=True) if kept])]))
    among = BM25(Segments([make_postings(collection)]), seen)
    expected = scores_of(alone, query, int(seen.sum()))
    found = scores_of(among, query, len(collection))
    assert found[seen].tolist() == expected.tolist()
    assert not found[~seen].any()
    assert [among.count(term) for term in query] == [alone.count(term) for term in query]


@given(collection=COLLECTION, cut=st.integers(0, 40), query=QUERY, k=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_parts_are_searched_as_one(collection: list[list[str]], cut: int, query: list[str], k: int) -> None:
    whole = BM25(Segments([make_postings(collection)])).top(query, k)
    parts = BM25(Segments([make_postings(collection[:cut]), make_postings(collection[cut:])])).top(query, k)
    assert [one.tolist() for one in whole] == [one.tolist() for one in parts]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("k", [1, 7, 100])
def test_the_best_of_many_are_the_best(native: bool, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(bm25, "load_kernels", lambda: None)
    draw = np.random.default_rng(k)
    texts = [[f"w{number}" for number in draw.integers(0, 40, size=12)] for _ in range(9000)]
    arm = BM25(Segments([make_postings(texts)]))
    query = ["w1", "w2", "w3", "nothing"]
    rows, scores = arm.top(query, k)
    every = scores_of(arm, query, 9000)
    assert sorted(rows.tolist()) == np.flatnonzero(every >= np.sort(every)[-k]).tolist()
    assert scores.tolist() == every[rows].tolist()


def test_all_that_are_as_good_as_the_last_are_returned() -> None:
    rows, _ = BM25(Segments([make_postings([["sea"]] * 7 + [["oven"]])])).top(["sea"], 3)
    assert rows.tolist() == list(range(7))


def test_postings_on_disk_are_those_in_memory(tmp_path: Path) -> None:
    texts = [["bread", "oven", "bread"], [], ["sea"], ["oven"] * 70_000]
    made = make_postings(texts)
    save_postings(made, tmp_path)
    read = load_postings(tmp_path)
    for term in ("bread", "oven", "sea", "nothing"):
        assert [one.tolist() for one in read.find(term)] == [one.tolist() for one in made.find(term)]
    assert made.find("bread")[1].tolist() == [2] and made.find("oven")[1].tolist() == [1, 65_535]
    assert read.lengths.tolist() == [3, 0, 1, 70_000]
    assert sorted(map(hash_of, ["bread", "oven", "sea"])) == read.hashes.tolist()


def test_arrays_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    save_postings(make_postings([["bread"], ["sea"]]), tmp_path)
    np.save(tmp_path / "rows.npy", np.zeros(1, dtype=np.uint32))
    with pytest.raises(ValueError, match="belong together"):
        load_postings(tmp_path)


def test_many_blocks_are_turned_round_as_one() -> None:
    draw = np.random.default_rng(1)
    texts = [[f"w{number}" for number in draw.integers(0, 50, size=draw.integers(0, 9))] for _ in range(9000)]
    made = make_postings(texts)
    for term in ("w0", "w17", "w49"):
        rows, counts = made.find(term)
        assert rows.tolist() == [row for row, terms in enumerate(texts) if term in terms]
        assert counts.tolist() == [terms.count(term) for terms in texts if term in terms]
