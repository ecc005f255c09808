"""Novelty: copies are found, fresh draws are not taken for copies, and the sets are made equal."""

from __future__ import annotations

import numpy as np
import pytest

from genwerk.metrics.distance_interval import distance_interval
from genwerk.metrics.frechet import frechet_distance
from genwerk.metrics.novelty import novelty


def draws(seed: int, count: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 4))


def test_copies_are_found() -> None:
    learned, held_out = draws(0), draws(1)
    copied = learned[:100] + 0.001
    found = novelty(copied, learned, held_out)
    assert found.share == 1.0 and found.copies and found.low > 0.95


def test_fresh_draws_are_not_copies() -> None:
    shares = [novelty(draws(seed), draws(100 + seed), draws(200 + seed)) for seed in range(20)]
    assert sum(found.copies for found in shares) <= 1
    assert abs(float(np.mean([found.share for found in shares])) - 0.5) < 0.03


def test_a_larger_set_has_no_advantage() -> None:
    found = [novelty(draws(seed, 200), draws(100 + seed, 4000), draws(200 + seed, 200)).share for seed in range(20)]
    assert abs(float(np.mean(found)) - 0.5) < 0.04


def test_what_cannot_be_told_is_no_copy() -> None:
    same = draws(0, 10)
    found = novelty(same, same, same)
    assert (found.share, found.p, found.n) == (0.5, 1.0, 0) and not found.copies


def test_an_interval_of_a_distance_holds_it_and_narrows_with_more() -> None:
    few = distance_interval(frechet_distance, draws(0, 60), draws(1, 60))
    many = distance_interval(frechet_distance, draws(0, 2000), draws(1, 2000))
    assert few.low < few.mean < few.high and many.high - many.low < few.high - few.low
    assert few.mean == frechet_distance(draws(0, 60), draws(1, 60))
    with pytest.raises(ValueError, match="two resamples"):
        distance_interval(frechet_distance, draws(0), draws(1), n=1)


def test_pairs_are_drawn_together() -> None:
    """Sets that differ by a little in every row: how far is known much better than of sets that differ by chance."""
    x = draws(0, 200)
    paired = distance_interval(frechet_distance, x, x + 0.1, paired=True)
    loose = distance_interval(frechet_distance, x, x + 0.1)
    assert paired.mean == loose.mean and paired.low <= paired.mean <= paired.high
    assert paired.high - paired.low < 0.1 * (loose.high - loose.low)
    with pytest.raises(ValueError, match="one length"):
        distance_interval(frechet_distance, x, x[1:], paired=True)
