"""Noise paths: their ends, their levels, and where solvers stop."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from genwerk.core.errors import RequestError
from genwerk.generators.path import EDM, VP, Linear, Path, mix

PATHS = [VP(), VP("cosine"), VP(spacing="leading"), EDM(), Linear(), Linear(shift=3.0)]


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_times_fall_from_noise_to_data(path: Path, steps: int) -> None:
    times = path.times(steps)
    assert len(times) == steps + 1
    assert all(t > s for t, s in pairwise(times))
    last = path.at(times[-1])
    assert (last.alpha, last.sigma) == (1.0, 0.0)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_one_time_and_a_batch_of_times_have_the_same_levels(path: Path) -> None:
    times = torch.tensor(path.times(9), dtype=torch.float64)
    alpha, sigma = path.levels(times)
    points = [path.at(float(t)) for t in times]
    torch.testing.assert_close(alpha, torch.tensor([one.alpha for one in points], dtype=torch.float64))
    torch.testing.assert_close(sigma, torch.tensor([one.sigma for one in points], dtype=torch.float64))


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_signal_rises_on_the_way_to_data_and_the_clock_falls(path: Path) -> None:
    points = [path.at(t) for t in path.times(20)]
    signals, clocks = [one.log_signal for one in points], [one.clock for one in points]
    assert signals == sorted(signals) and signals[-1] == math.inf
    assert clocks == sorted(clocks, reverse=True) and clocks[-1] == 0.0


@pytest.mark.parametrize("path", [VP(), VP("cosine")], ids=repr)
def test_variance_is_preserved(path: VP) -> None:
    alpha, sigma = path.levels(torch.arange(1001))
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(1001, dtype=torch.float64))


def test_linear_betas_are_those_of_ddpm() -> None:
    abar = 1.0
    for step in range(1000):
        abar *= 1 - (1e-4 + step / 999 * (0.02 - 1e-4))
    assert VP().at(1000).alpha == pytest.approx(math.sqrt(abar), rel=1e-9)


def test_edm_times_are_those_of_the_paper() -> None:
    times = EDM().times(18)
    assert times[0] == pytest.approx(80.0) and times[-2] == pytest.approx(0.002)
    assert times[9] == pytest.approx((80 ** (1 / 7) + 9 / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7)


def test_a_shift_moves_times_towards_noise() -> None:
    assert Linear(shift=3.0).times(2)[1] == pytest.approx(0.75)


def test_mixing_is_per_draw() -> None:
    x0, noise = torch.ones(3, 2, 2), torch.full((3, 2, 2), 5.0)
    mixed = mix(Linear(), x0, noise, torch.tensor([0.0, 0.5, 1.0]))
    assert mixed[:, 0, 0].tolist() == [1.0, 3.0, 5.0]


@pytest.mark.parametrize(("path", "steps"), [(VP(), 0), (VP(), 1001), (EDM(), -1), (Linear(), 0)])
def test_steps_that_cannot_be_are_refused(path: Path, steps: int) -> None:
    with pytest.raises(RequestError, match="steps"):
        path.times(steps)
