"""Solvers against diffusers' schedulers, on one fixed network that need not be any good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from genwerk.generators.path import EDM, VP, Linear, Path
from genwerk.generators.solve import dpm_solver, euler, heun

diffusers = pytest.importorskip("diffusers")
STEPS = 10


def bent(x: Tensor, level: float) -> Tensor:
    """A network's raw answer to a state: anything smooth."""
    return 0.7 * torch.tanh(1.3 * x + 0.2 * level) - 0.1 * x


def last(frames: Any) -> Tensor:
    *_, frame = frames
    return frame.x


def start() -> Tensor:
    return torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def peer(scheduler: Any, x: Tensor, answer: Callable[[Tensor, float], Tensor]) -> Tensor:
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        x = scheduler.step(answer(scaled, float(t)), t, x).prev_sample
    return x


def of_noise(path: Path) -> Callable[[Tensor, float], Tensor]:
    """x_0 by a network that estimates noise, given diffusers' time, which counts from 0."""

    def denoise(x: Tensor, t: float) -> Tensor:
        alpha, sigma, _ = path.at(t)
        return (x - sigma * bent(x, (t - 1) / 1000)) / alpha

    return denoise


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim(spacing: Any) -> None:
    scheduler = diffusers.DDIMScheduler(
        1000, 0.0001, 0.02, "linear", timestep_spacing=spacing, clip_sample=False, set_alpha_to_one=True
    )
    scheduler.set_timesteps(STEPS)
    path = VP("linear", spacing=spacing)
    ours = last(euler(of_noise(path), path, start(), path.times(STEPS)))
    theirs = peer(scheduler, start(), lambda x, t: bent(x, t / 1000))
    assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())


def test_dpm_solver() -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        1000, 0.0001, 0.02, "linear", solver_order=2, algorithm_type="dpmsolver++", timestep_spacing="trailing",
        lower_order_final=True, final_sigmas_type="zero",
    )  # fmt: skip
    scheduler.set_timesteps(STEPS)
    path = VP("linear")
    ours = last(dpm_solver(of_noise(path), path, start(), path.times(STEPS)))
    theirs = peer(scheduler, start(), lambda x, t: bent(x, t / 1000))
    assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())


def of_edm(x: Tensor, sigma: float, deviation: float = 0.5) -> Tensor:
    whole = sigma**2 + deviation**2
    raw = bent(x / whole**0.5, 0.25 * torch.tensor(sigma).log().item())
    return deviation**2 / whole * x + sigma * deviation / whole**0.5 * raw


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "HeunDiscreteScheduler"])
def test_edm(name: str) -> None:
    path = EDM()
    times = path.times(STEPS)
    x = start() * times[0]
    if name == "EDMEulerScheduler":
        scheduler = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, rho=7.0)
        scheduler.set_timesteps(STEPS)
        ours = last(euler(of_edm, path, x, times))
        theirs = peer(scheduler, x, lambda scaled, t: bent(scaled, t))
        assert torch.allclose(scheduler.sigmas.double(), torch.tensor(times).double(), rtol=1e-5)
    else:  # diffusers' EDM has Euler only; its Heun takes noise at the same sigmas
        scheduler = diffusers.HeunDiscreteScheduler(1000, 0.0001, 0.02, "linear")
        scheduler.set_timesteps(STEPS)
        doubled = [times[0], *(t for t in times[1:-1] for _ in range(2)), times[-1]]
        scheduler.sigmas, noise = torch.tensor(doubled, dtype=torch.float64), lambda v, s: bent(v, s)
        ours = last(heun(lambda v, s: v - s * noise(v, s), path, x, times))
        theirs = x
        for place, t in enumerate(scheduler.timesteps):
            scheduler._step_index = place
            sigma = float(scheduler.sigmas[place])
            theirs = scheduler.step(noise(theirs, sigma), t, theirs).prev_sample
    assert float((ours - theirs).abs().max()) < 1e-5 * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching(shift: float) -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(1000, shift=shift)
    scheduler.set_timesteps(sigmas=[1 - step / STEPS for step in range(STEPS)])
    path = Linear(shift)
    ours = last(euler(lambda x, t: x - t * bent(x, t), path, start(), path.times(STEPS)))
    theirs = start()
    for t in scheduler.timesteps:
        theirs = scheduler.step(bent(theirs, float(t) / 1000), t, theirs).prev_sample
    assert float((ours - theirs).abs().max()) < 1e-5
