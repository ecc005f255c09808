"""The Fréchet distance in cases known on paper, and as scipy's matrix root gives it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from genwerk.metrics.frechet import frechet_distance


def test_a_set_is_no_way_from_itself() -> None:
    features = np.random.default_rng(0).normal(size=(200, 8))
    assert frechet_distance(features, features) == pytest.approx(0.0, abs=1e-9)


def test_shifted_sets_are_the_square_of_the_shift_apart() -> None:
    features = np.random.default_rng(0).normal(size=(200, 3))
    assert frechet_distance(features, features + np.array([1.0, 2.0, 2.0])) == pytest.approx(9.0)


def test_scaled_sets_are_the_difference_of_deviations_apart() -> None:
    features = np.random.default_rng(0).normal(size=(300, 4))
    features -= features.mean(0)
    variance = np.trace(np.cov(features, rowvar=False))
    assert frechet_distance(features, 3 * features) == pytest.approx(4 * variance)  # sum (3 s - s)²


def test_it_is_what_the_root_of_a_matrix_gives() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(400, 6)) @ random.normal(size=(6, 6)), random.normal(size=(300, 6)) + 0.2
    spreads = [np.cov(one, rowvar=False) for one in (x, y)]
    root = sqrtm(spreads[0] @ spreads[1]).real
    wanted = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(spreads[0] + spreads[1] - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(wanted, rel=1e-8)


def test_fewer_samples_than_features_do_no_harm() -> None:
    random = np.random.default_rng(2)
    assert np.isfinite(frechet_distance(random.normal(size=(5, 64)), random.normal(size=(5, 64))))
