"""Bootstrap intervals: closed forms, determinism, coverage of the true mean and parity with scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from genwerk.metrics.bootstrap import interval, paired_difference


def test_equal_values_have_no_spread() -> None:
    result = interval([0.25] * 8)
    assert (result.mean, result.low, result.high, result.n) == (0.25, 0.25, 0.25, 8)


def test_same_seed_same_interval_other_seed_another() -> None:
    values = list(np.random.default_rng(1).random(50))
    assert interval(values) == interval(values)
    assert interval(values) != interval(values, seed=1)


def test_parity_with_scipy_percentile_bootstrap() -> None:
    values = np.random.default_rng(2).normal(3.0, 2.0, 80)
    theirs = scipy_bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    ours = interval(list(values), n=20_000)
    assert ours.low == pytest.approx(theirs.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.high, abs=0.03)


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    results = (interval(list(generator.normal(0.0, 1.0, 60)), n=400) for _ in range(300))
    covered = sum(result.low <= 0.0 <= result.high for result in results)
    assert 0.90 <= covered / 300 <= 0.98


def test_pairs_see_what_two_means_hide() -> None:
    base = np.random.default_rng(4).normal(0.0, 10.0, 40)
    assert paired_difference(list(base + 0.1), list(base)).above_zero
    assert not paired_difference(list(base), list(base)).above_zero


@pytest.mark.parametrize("values", [[], [float("nan")], [float("inf"), 1.0]])
def test_values_without_a_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError):
        interval(values)


def test_pairs_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        paired_difference([1.0], [1.0, 2.0])
