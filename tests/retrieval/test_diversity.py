"""Maximal marginal relevance on paper, and identical texts once."""

from __future__ import annotations

import numpy as np
import pytest

from genwerk.core.errors import RequestError
from genwerk.core.types import Chunk, Document
from genwerk.retrieval.diversity import diverse_order, first_of_each
from genwerk.retrieval.search import Candidates, Options, Searcher

VECTORS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=np.float32)


def test_diverse_order_on_paper() -> None:
    scores = [1.0, 0.9, 0.5, 0.0]
    assert diverse_order(scores, VECTORS, 1.0, 4) == [0, 1, 2, 3]
    assert diverse_order(scores, VECTORS, 0.5, 3) == [0, 2, 1]  # 0.25 - 0, then 0.45 - 0.5 before 0 - 0.4
    assert diverse_order(scores, VECTORS, 0.0, 2) == [0, 2]
    assert diverse_order([3.0, 3.0], VECTORS[:2], 0.7, 5) == [0, 1] and diverse_order([], VECTORS[:0], 0.5, 3) == []


def test_first_of_each() -> None:
    assert first_of_each(["a", "b", "a", "c", "b"]) == [0, 1, 3]


def test_reciprocal_ranks_on_paper() -> None:
    first, second, third = chunks = tuple(Chunk("d", 10 * n, 10 * n + 10) for n in range(3))
    found = Candidates(chunks, np.zeros(3), np.zeros(3), {0: 0.9, 1: 0.8}, {1: 7.0, 2: 6.0})
    ranked = found.ranked("hybrid", 0.5, 3, "rrf")
    assert ranked == [(second, 1 / 62 + 1 / 61), (first, 1 / 61), (third, 1 / 62)]
    assert found.ranks(0.5, "rrf")["hybrid"][third].rank == 3


def test_copies_are_left_out_and_counted(make_index, encoder) -> None:  # type: ignore[no-untyped-def]
    text = "Bread is baked in an oven."
    documents = [Document.create(f"{n}.md", text) for n in range(3)] + [Document.create("x.md", "An oven is hot.")]
    searcher = Searcher(make_index(documents), encoder)
    whole = searcher.find("bread oven", 9)
    alone = searcher.find("bread oven", 9, options=Options(distinct=True))
    assert (len(whole.results), whole.repeated) == (4, 0) and (len(alone.results), alone.repeated) == (2, 2)
    assert alone.results[0] == whole.results[0]
    varied = searcher.find("bread oven", 2, options=Options(mmr=0.3)).results
    assert {searcher.index.chunk_text(item.chunk) for item in varied} == {text, "An oven is hot."}


@pytest.mark.parametrize(("field", "value"), [("fusion", "borda"), ("mmr", 2.0), ("weight", -1.0)])
def test_what_cannot_be_asked_is_refused(field: str, value: object) -> None:
    with pytest.raises(RequestError) as caught:
        Options(**{field: value})  # type: ignore[arg-type]
    assert caught.value.param == field
