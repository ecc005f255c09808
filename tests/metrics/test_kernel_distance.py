"""The kernel distance: by its definition, unbiased where both sets are alike, large where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from genwerk.metrics.kernel_distance import kernel_distance


def test_it_is_the_definition() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(7, 3)), random.normal(size=(5, 3)) + 1

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    among = [np.mean([k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]) for s in (x, y)]
    between = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(sum(among) - 2 * between)


def test_sets_that_are_alike_are_zero_apart_on_average() -> None:
    random = np.random.default_rng(1)
    found = [kernel_distance(random.normal(size=(50, 4)), random.normal(size=(50, 4))) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
    assert kernel_distance(random.normal(size=(50, 4)), random.normal(size=(50, 4)) + 2) > 10 * np.std(found)
