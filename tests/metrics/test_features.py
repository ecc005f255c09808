"""What cannot be compared is refused by every measure that compares sets of features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from genwerk.metrics.frechet import frechet_distance
from genwerk.metrics.kernel_distance import kernel_distance
from genwerk.metrics.prdc import prdc

MEASURES = (frechet_distance, kernel_distance, prdc)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        (np.zeros((1, 2)), np.zeros((9, 2)), "or more are needed"),
        (np.zeros((9, 2)), np.zeros((9, 3)), "are needed, not"),
        (np.zeros(9), np.zeros(9), "are needed, not"),
        (np.full((9, 2), np.nan), np.zeros((9, 2)), "finite"),
        (np.zeros((9, 2)), np.full((9, 2), np.inf), "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    measure: Callable[[np.ndarray, np.ndarray], object], x: np.ndarray, y: np.ndarray, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        measure(x, y)


def test_prdc_needs_a_neighbour_more_than_k() -> None:
    with pytest.raises(ValueError, match="6 features"):
        prdc(np.zeros((5, 2)), np.zeros((9, 2)), k=5)
