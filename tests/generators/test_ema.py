"""Averages of weights: their profile has the width it is named by, and any width can be had afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from genwerk.generators.ema import WIDTHS, Kept, PowerAverage, average_afterwards, gamma_of


def _walk(steps: int) -> Tensor:
    """Weights that wander, as training makes them."""
    return torch.randn(steps, 5, generator=torch.Generator().manual_seed(0)).cumsum(0)


@pytest.mark.parametrize("width", [0.02, 0.05, 0.1, 0.2])
def test_the_profile_has_the_width_it_is_named_by(width: float) -> None:
    steps = 4000
    average = PowerAverage(width)
    for step in range(1, steps + 1):
        place = step / steps
        average.update({"place": torch.tensor(place), "square": torch.tensor(place**2)})
    mean, square = float(average.mean["place"]), float(average.mean["square"])
    gamma = gamma_of(width)
    assert mean == pytest.approx((gamma + 1) / (gamma + 2), rel=2e-3)
    assert (square - mean**2) ** 0.5 == pytest.approx(width, rel=2e-2)


def test_weights_that_stand_still_are_their_average() -> None:
    average = PowerAverage(0.1)
    for _ in range(10):
        average.update({"w": torch.full((3,), 2.5)})
    assert average.mean["w"].tolist() == [2.5, 2.5, 2.5]


def test_it_goes_on_where_it_was_left() -> None:
    walk, whole, halves = _walk(100), PowerAverage(0.05), PowerAverage(0.05)
    for row in walk:
        whole.update({"w": row})
    for row in walk[:40]:
        halves.update({"w": row})
    again, kept = PowerAverage(0.05, halves.keep()), halves.keep()
    for row in walk[40:]:
        again.update({"w": row})
    assert torch.equal(again.mean["w"], whole.mean["w"])
    assert torch.equal(kept.mean["w"], halves.mean["w"])


def test_counters_are_taken_over_and_weights_stay_untouched() -> None:
    average, weight = PowerAverage(0.1), torch.ones(2, dtype=torch.bfloat16)
    for count in (3, 4):
        average.update({"count": torch.tensor(count), "w": weight})
    assert int(average.mean["count"]) == 4
    assert average.mean["w"].dtype == torch.float32
    average.mean["w"].zero_()
    assert weight.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("width", [0.05, 0.07, 0.2, 0.28])
def test_afterwards_too_what_stood_still_is_as_it_was(width: float) -> None:
    followed, kept = [PowerAverage(one) for one in WIDTHS], list[Kept]()
    for step in range(1, 101):
        for one in followed:
            one.update({"w": torch.full((3,), 2.5)})
        if step % 25 == 0:
            kept += [one.keep() for one in followed]
    assert torch.allclose(average_afterwards(kept, 100, width)["w"], torch.full((3,), 2.5))


@pytest.mark.parametrize("width", [0.05, 0.06, 0.08, 0.1])
def test_any_width_between_can_be_had_afterwards(width: float) -> None:
    walk, followed, direct, kept = _walk(2000), [PowerAverage(one) for one in WIDTHS], PowerAverage(width), list[Kept]()
    for step, row in enumerate(walk, 1):
        for average in (*followed, direct):
            average.update({"w": row})
        if step % 100 == 0:
            kept += [one.keep() for one in followed]
    made = average_afterwards(kept, 2000, width)["w"]
    spread = float((walk[-1] - direct.mean["w"]).norm())
    assert float((made - direct.mean["w"]).norm()) < 0.02 * spread


@pytest.mark.parametrize("width", [0.0, -0.1, 0.3, np.nan])
def test_widths_that_cannot_be_are_refused(width: float) -> None:
    with pytest.raises(ValueError, match="wide"):
        gamma_of(width)


def test_of_nothing_there_is_no_average() -> None:
    with pytest.raises(ValueError, match="kept"):
        average_afterwards([], 10, 0.1)
