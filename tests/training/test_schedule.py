"""Warm-up and cosine: values known on paper."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.training.schedule import cosine_with_warmup


def test_warm_up_is_a_straight_line_that_moves_from_the_first_step() -> None:
    assert [cosine_with_warmup(s, 100, 4) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_cosine_begins_at_one_and_is_half_way_in_the_middle() -> None:
    assert cosine_with_warmup(10, 110, 10, 0.2) == pytest.approx(1.0)
    assert cosine_with_warmup(60, 110, 10, 0.2) == pytest.approx(0.6)
    assert cosine_with_warmup(35, 110, 10, 0.0) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_after_the_end_the_floor_is_left() -> None:
    assert cosine_with_warmup(110, 110, 10, 0.2) == cosine_with_warmup(500, 110, 10, 0.2) == 0.2


@given(st.integers(0, 300), st.integers(1, 200), st.integers(0, 250), st.floats(0, 1))
def test_the_multiplier_stays_between_zero_and_one(step: int, total: int, warmup: int, floor: float) -> None:
    assert 0.0 <= cosine_with_warmup(step, total, warmup, floor) <= 1.0
