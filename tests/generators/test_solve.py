"""Solvers in a world whose flow is known: they end where it ends, and err with the order they claim."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import pytest
import torch
from oracle_world import GaussianWorld
from torch import Tensor

from genwerk.generators.path import EDM, VP, Linear, Path
from genwerk.generators.solve import Denoiser, Frame, Solver, ancestral, dpm_solver, euler, heun

PATHS = [VP(), VP("cosine"), EDM(), Linear(), Linear(shift=3.0)]


def _starts(path: Path, t: float, count: int = 64) -> Tensor:
    world, point = GaussianWorld(path), path.at(t)
    spread = math.sqrt((point.alpha * world.deviation) ** 2 + point.sigma**2)
    noise = torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    return point.alpha * world.mean + spread * noise


def _end(frames: Iterator[Frame]) -> Tensor:
    return list(frames)[-1].x


def _still(denoise: Denoiser, path: Path, x: Tensor, times: Sequence[float]) -> Iterator[Frame]:
    return ancestral(denoise, path, x, times, draw=lambda: torch.full_like(x, torch.nan), eta=0.0)


SOLVERS = pytest.mark.parametrize(
    ("solver", "order"),
    [
        pytest.param(euler, 1, id="euler"),
        pytest.param(heun, 2, id="heun"),
        pytest.param(dpm_solver, 2, id="dpm_solver"),
    ],
)


@pytest.mark.parametrize("path", PATHS, ids=repr)
@SOLVERS
def test_the_error_falls_with_the_order(path: Path, solver: Solver, order: float) -> None:
    world, whole = GaussianWorld(path), path.times(1000 if isinstance(path, VP) else 800)
    inner = whole[len(whole) // 10 : -len(whole) // 10]  # smooth there; the ends have orders of their own
    count, errors = (len(inner) - 1) // 40 * 40, []
    for stride in (40, 20, 10):
        times = inner[: count + 1 : stride]
        x = _starts(path, times[0])
        made, exact = _end(solver(world.denoise, path, x, times)), world.flow(x, times[0], times[-1])
        errors.append(float((made - exact).abs().max()))
    found = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert found[-1] == pytest.approx(order, abs=0.25), (errors, found)


@pytest.mark.parametrize("path", PATHS, ids=repr)
@SOLVERS
def test_samples_have_the_mean_and_deviation_of_the_data(path: Path, solver: Solver, order: float) -> None:
    world, times = GaussianWorld(path), path.times(50)
    x = _starts(path, times[0], 4096)
    made = _end(solver(world.denoise, path, x, times))
    exact = world.flow(x, times[0], 0)
    assert float(made.mean()) == pytest.approx(float(exact.mean()), abs=0.02)
    assert float(made.std()) == pytest.approx(float(exact.std()), rel=0.12)  # heun is unsure where alpha is nearly 0


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_noise_drawn_anew_keeps_the_distribution(path: Path) -> None:
    world, times = GaussianWorld(path), path.times(200)
    generator = torch.Generator().manual_seed(3)
    x = _starts(path, times[0], 20_000)
    draw = partial(torch.randn, len(x), dtype=torch.float64, generator=generator)
    made = _end(ancestral(world.denoise, path, x, times, draw=draw))
    assert float(made.mean()) == pytest.approx(world.mean, abs=0.02)
    assert float(made.std()) == pytest.approx(world.deviation, rel=0.04)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_without_new_noise_it_is_euler(path: Path) -> None:
    world, times = GaussianWorld(path), path.times(9)
    x = _starts(path, times[0])
    ours, theirs = list(_still(world.denoise, path, x, times)), list(euler(world.denoise, path, x, times))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.x, other.x, rtol=1e-12, atol=1e-12)


@SOLVERS
@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_a_frame_for_every_step_the_last_at_data(path: Path, solver: Solver, order: float) -> None:
    world = GaussianWorld(path)
    frames = list(solver(world.denoise, path, _starts(path, path.times(6)[0]), path.times(6)))
    assert [frame.time for frame in frames] == path.times(6)[1:]
    assert all(torch.isfinite(frame.x).all() and torch.isfinite(frame.x0).all() for frame in frames)


@SOLVERS
@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_where_all_data_are_one_point_any_number_of_steps_ends_there(path: Path, solver: Solver, order: float) -> None:
    world = GaussianWorld(path, deviation=0.0)
    for steps in (1, 2, 5):
        times = path.times(steps)
        made = _end(solver(world.denoise, path, _starts(path, times[0]), times))
        torch.testing.assert_close(made, torch.full_like(made, world.mean), rtol=1e-9, atol=1e-9)
