"""Guidance: weights, and the interval outside of which nothing is guided."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.generators.guidance import guide
from genwerk.generators.path import EDM, Linear


def _asked(x: Tensor, t: float) -> Tensor:
    return torch.full_like(x, 3.0)


def _free(x: Tensor, t: float) -> Tensor:
    return torch.full_like(x, 1.0)


def _never(x: Tensor, t: float) -> Tensor:
    raise AssertionError("this costs time and is not needed")


@pytest.mark.parametrize(("weight", "made"), [(0.0, 1.0), (1.0, 3.0), (2.5, 6.0)])
def test_the_weight_goes_from_free_to_asked_and_beyond(weight: float, made: float) -> None:
    assert guide(_asked, _free, EDM(), weight)(torch.zeros(2), 1.0).tolist() == [made, made]


def test_weight_one_calls_one_network() -> None:
    guide(_asked, _never, EDM(), 1.0)(torch.zeros(1), 1.0)


@pytest.mark.parametrize(("t", "made"), [(0.1, 3.0), (0.5, 5.0), (4.0, 5.0), (9.0, 3.0)])
def test_outside_the_interval_nothing_is_guided(t: float, made: float) -> None:
    assert guide(_asked, _free, EDM(), 2.0, low=0.5, high=4.0)(torch.zeros(1), t).item() == made


def test_pure_noise_is_beyond_every_finite_interval() -> None:
    assert guide(_asked, _never, Linear(), 2.0, high=100.0)(torch.zeros(1), 1.0).item() == 3.0


@pytest.mark.parametrize(("weight", "low", "high"), [(float("nan"), 0.0, 1.0), (2.0, 1.0, 1.0), (2.0, 3.0, 1.0)])
def test_nonsense_is_refused(weight: float, low: float, high: float) -> None:
    with pytest.raises(RequestError, match="guidance"):
        guide(_asked, _free, EDM(), weight, low=low, high=high)
