"""Samples by taking noise away: what diffusion and flow have in common, given their estimate of the data.

    x_0 = estimate(x_t, t, condition)     guided (guidance.py), then carried along the path by a solver (solve.py)

    image to image   begin at t0 = times[(1 - strength) n] with alpha x_start + sigma eps
    inpainting       x_0 <- x_start where kept: those pixels then follow their own path, to the bit

Source: Meng et al. (2021), SDEdit, for image to image; Lugmayr et al. (2022), RePaint, for what is kept.

Left out: RePaint's going back and forth, which multiplies the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.generators.family import Ask, Preview, Space, Use
from genwerk.generators.guidance import guide
from genwerk.generators.noise import Noise
from genwerk.generators.path import Path
from genwerk.generators.solve import Denoiser, Solver, ancestral, dpm_solver, euler, heun
from genwerk.models.condition import none_like

__all__ = ["DENOISING", "SOLVERS", "Estimate", "denoise_frames", "denoiser_of", "solver_of", "times_of"]

DENOISING: frozenset[Use] = frozenset(
    {"given", "noise", "steps", "solver", "guidance", "interval", "start", "strength", "keep"}
)
SOLVERS: dict[str, Solver | None] = {"euler": euler, "heun": heun, "dpm_solver": dpm_solver, "ancestral": None}


class Estimate(Protocol):
    """x_t (B, …), t and what is given to an estimate of x_0 (B, …)."""

    def __call__(self, x: Tensor, t: float, given: Tensor | None) -> Tensor: ...


def denoise_frames(
    estimate: Estimate,
    path: Path,
    space: Space,
    ask: Ask,
    *,
    steps: int,
    solver: str,
    device: torch.device,
    bound: float | None = 1.0,
) -> Iterator[Preview]:
    """Previews of an ask that was checked; steps, solver: where it names none; bound: of what is shown, none for codes.

    Raises RequestError for a solver or steps that cannot be.
    """
    noise = Noise(ask.seed, ask.count, first=ask.first)
    drawn = noise.draw(space.shape) if ask.noise is None else ask.noise
    times = times_of(path, ask, steps)
    here, start = path.at(times[0]), None if ask.start is None else ask.start.to(device)
    x = here.sigma * drawn.to(device)
    if start is not None:
        x = x + here.alpha * start
    denoise = denoiser_of(estimate, path, ask, device)
    if ask.keep is not None and start is not None:
        denoise = _keeping(denoise, start, ask.keep.to(device))
    solve = solver_of(ask.solver or solver, lambda: noise.draw(space.shape).to(device))
    for done, frame in enumerate(solve(denoise, path, x, times), 1):
        last = done == len(times) - 1
        shown = frame.x if last else frame.x0
        if bound is not None:
            shown = shown.clamp(-bound, bound)
        yield Preview(ask.with_kept(shown), done, len(times) - 1)


def times_of(path: Path, ask: Ask, steps: int) -> list[float]:
    """The falling times that are taken, the last of them if the strength is below 1; steps: where the ask has none."""
    times = path.times(steps if ask.steps is None else ask.steps)
    return times[len(times) - 1 - max(1, round(ask.strength * (len(times) - 1))) :]


def denoiser_of(estimate: Estimate, path: Path, ask: Ask, device: torch.device) -> Denoiser:
    """The estimate under what is asked for, guided where that is asked for, too."""
    given = None if ask.given is None else ask.given.to(device)
    asked = partial(estimate, given=given)
    if given is None or ask.guidance == 1.0:
        return asked
    low, high = ask.interval
    return guide(asked, partial(estimate, given=none_like(given)), path, ask.guidance, low=low, high=high)


def _keeping(denoise: Denoiser, start: Tensor, keep: Tensor) -> Denoiser:
    return lambda x, t: torch.where(keep, start, denoise(x, t))


def solver_of(name: str, draw: Callable[[], Tensor]) -> Solver:
    """By name; draw: new noise, for `ancestral`. Raises RequestError for a name that is not known."""
    if name == "ancestral":
        return partial(ancestral, draw=draw)
    if (found := SOLVERS.get(name)) is None:
        remedy = f"Known: {', '.join(sorted(SOLVERS))}."
        raise RequestError(f"there is no solver `{name}`", param="solver", remedy=remedy)
    return found
