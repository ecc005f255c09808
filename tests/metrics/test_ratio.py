"""The bootstrap of a ratio: agrees with the bootstrap of a mean, weighs clusters by size, refuses nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.metrics.bootstrap import interval
from genwerk.metrics.ratio import ratio_interval


def test_clusters_of_equal_size_are_a_mean() -> None:
    values = [0.2, 0.4, 0.9, 0.1, 0.5]
    ratio, mean = ratio_interval(values, [1.0] * 5), interval(values)
    assert (ratio.mean, ratio.low, ratio.high, ratio.n) == pytest.approx((mean.mean, mean.low, mean.high, 5), abs=0.02)


def test_a_large_cluster_counts_by_its_size() -> None:
    assert ratio_interval([90, 0], [90, 10]).mean == pytest.approx(0.9)


def test_a_cluster_without_parts_changes_nothing_but_is_counted() -> None:
    found = ratio_interval([1, 2, 0], [2, 4, 0])
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_the_interval_holds_the_extremes_and_repeats(parts: list[tuple[int, int]]) -> None:
    above, below = [a for a, _ in parts], [b for _, b in parts]
    found = ratio_interval(above, below)
    rates = [a / b for a, b in parts]
    assert min(rates) - 1e-9 <= found.low <= found.high <= max(rates) + 1e-9
    assert found == ratio_interval(above, below)


@pytest.mark.parametrize(("above", "below"), [([1], [0]), ([1, 2], [1]), ([1], [-1]), ([float("nan")], [1]), ([], [])])
def test_what_has_no_ratio_is_refused(above: list[float], below: list[float]) -> None:
    with pytest.raises(ValueError, match="ratio"):
        ratio_interval(above, below)
