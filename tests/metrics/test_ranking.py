"""Ranking metrics against values worked out on paper and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from genwerk.metrics.ranking import first_gain_only, hit_at_k, ndcg_at_k, reciprocal_rank


def test_known_item_at_rank_three_closed_form() -> None:
    gains = [0.0, 0.0, 1.0, 0.0]
    assert hit_at_k(gains, 2) == 0.0
    assert hit_at_k(gains, 3) == 1.0
    assert reciprocal_rank(gains) == pytest.approx(1 / 3)
    assert ndcg_at_k(gains, 10, ideal=[1.0]) == pytest.approx(1 / math.log2(4))


def test_a_list_that_misses_half_is_not_perfect() -> None:
    assert ndcg_at_k([1.0, 1.0], 10) == 1.0
    assert ndcg_at_k([1.0, 1.0], 10, ideal=[1.0] * 4) < 0.7


def test_nothing_found_and_nothing_to_find_are_zero() -> None:
    assert ndcg_at_k([], 10, ideal=[1.0]) == ndcg_at_k([0.0], 10) == reciprocal_rank([]) == hit_at_k([], 5) == 0.0


def test_only_the_first_touch_of_a_known_item_counts() -> None:
    assert first_gain_only([0.0, 1.0, 1.0]) == [0.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="first_gain_only"):
        ndcg_at_k([1.0, 1.0], 10, ideal=[1.0])


@pytest.mark.parametrize("call", [lambda: hit_at_k([1.0], 0), lambda: ndcg_at_k([-1.0], 3)])
def test_impossible_arguments_are_refused(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        call()


@given(st.lists(st.integers(0, 4), min_size=2, max_size=20), st.integers(1, 25))
def test_ndcg_equals_scikit_learn(grades: list[int], k: int) -> None:
    order = np.arange(len(grades), 0, -1, dtype=float)
    theirs = float(ndcg_score([grades], [order], k=k))
    assert ndcg_at_k([float(grade) for grade in grades], k) == pytest.approx(theirs, abs=1e-9)
