"""From a picture back to its noise, and from there to another picture: style transfer without pairs.

Source: Song et al. (2021), Score-based generative modeling, section 4.3, for the way back along the probability flow;
Song et al. (2020), Denoising diffusion implicit models, eqs. 13 and 14; Su et al. (2022), Dual diffusion implicit
bridges, algorithm 1, for the way there and back under two conditions.

    x_T = flow( x_0, 0 → T | A )          the solver with its times reversed; eps = x_T / sigma_T
    x'  = flow( x_T, T → 0 | B )          A = B: the picture again, but for the solver's error; else A's picture as a B
    VAE   eps = mean of q(z | x, A)       x' = decode(eps, B)

Stopped at a strength below 1, x_t = alpha x_0 + sigma eps defines eps, so that the same ask with eps for its noise
goes on from x_t: less of the picture is made anew, and less of it changes.

Chosen:   what comes back is an ask that draws the picture, so all that can be asked of a draw can be asked of it.
Left out: exact inverses by fixed points or coupled states (EDICT), changed attention (prompt-to-prompt).
Try it:   pytest tests/generators/test_inversion.py
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.core.progress import track
from genwerk.generators.denoising import denoiser_of, solver_of, times_of
from genwerk.generators.diffusion import Diffusion
from genwerk.generators.family import Ask, Family, check_ask, check_shapes, sample
from genwerk.generators.flow import Flow
from genwerk.generators.latent import Latent
from genwerk.generators.path import Path
from genwerk.generators.solve import Denoiser
from genwerk.generators.vae import VAE

__all__ = ["invert", "transfer"]

_Denoising = Flow | Diffusion


@torch.no_grad()
def invert(family: Family, ask: Ask, *, together: int = 64, show: bool = False) -> Ask:
    """The ask that draws the pictures `ask.start` again: the same one with their noise (count, *noise_shape).

    ask.given   what the pictures are; none where nothing is said

    Raises RequestError: a family without a way back, a solver that draws new noise, no picture, see `check_ask`.
    """
    _check(family, ask)
    training = family.network.training
    family.network.eval()
    parts: list[Tensor] = []
    try:
        with track("back to noise", total=ask.count, unit="pictures") if show else nullcontext() as bar:
            for part in _parts(ask, together):
                parts.append(_noise_of(family, part))
                if bar is not None:
                    bar.advance(part.count)
    finally:
        family.network.train(training)
    return replace(ask, noise=torch.cat(parts), start=ask.start if _begins_within(ask) else None)


def transfer(family: Family, ask: Ask, target: Tensor | None, *, guidance: float = 1.0, show: bool = False) -> Tensor:
    """(count, *shape): the pictures `ask.start`, which are `ask.given`, as what `target` says.

    guidance   of the way to the target; that of the ask is of the way back

    Raises RequestError, see `invert`.
    """
    back = invert(family, ask, show=show)
    return sample(family, replace(back, given=target, guidance=guidance), show=show)


def _check(family: Family, ask: Ask) -> None:
    if not isinstance(family, VAE | Latent | _Denoising):
        what = f"a {type(family).__name__} cannot take a picture back to its noise"
        remedy = "A VAE, a diffusion, a flow and a latent flow can; image to image begins with new noise."
        raise RequestError(what, param="start", remedy=remedy)
    if ask.start is None:
        raise RequestError("there is no picture to take back to its noise", param="start", remedy="Give one.")
    check_ask(family, replace(ask, start=None) if isinstance(family, VAE) else ask)
    check_shapes(family.space, ask)
    if isinstance(family, VAE) and (family.space.classes or family.space.vector) and _untold(ask):
        what = "a VAE that is asked for something reads a picture as what it is, and is not told"
        raise RequestError(what, param="given", remedy="Say what each picture is.")
    if not isinstance(family, VAE) and _solver(family, ask) == "ancestral":
        what = "`ancestral` draws new noise in each step, so there is no way back"
        raise RequestError(what, param="solver", remedy="Ask for euler, heun or dpm_solver.")


def _untold(ask: Ask) -> bool:
    if ask.given is None:
        return True
    return bool((ask.given < 0).any()) if ask.given.ndim == 1 else not bool(ask.given.any(1).all())


def _parts(ask: Ask, together: int) -> Iterator[Ask]:
    for start in range(0, ask.count, together):
        yield ask.part(start, min(start + together, ask.count))


def _begins_within(ask: Ask) -> bool:
    """Whether the draw begins with the picture and noise, not with noise alone."""
    return ask.strength < 1.0 or ask.keep is not None


def _noise_of(family: Family, ask: Ask) -> Tensor:
    assert ask.start is not None
    device = next(family.network.parameters()).device
    x = ask.start.to(device)
    if isinstance(family, VAE):
        return family.encode(x, None if ask.given is None else ask.given.to(device))
    own, path = _denoising(family), _denoising(family).path
    x = family.encode(x) if isinstance(family, Latent) else x
    times = times_of(path, ask, own.config.steps)
    denoise = _known_at_data(denoiser_of(own.estimate, path, ask, device), path)
    *_, last = solver_of(_solver(family, ask), lambda: x)(denoise, path, x, times[::-1])
    there = path.at(times[0])
    return (last.x - there.alpha * x if _begins_within(ask) else last.x) / there.sigma


def _denoising(family: Family) -> Flow | Diffusion:
    own = family.prior if isinstance(family, Latent) else family
    assert isinstance(own, _Denoising)
    return own


def _solver(family: Family, ask: Ask) -> str:
    return ask.solver or _denoising(family).config.solver


def _known_at_data(denoise: Denoiser, path: Path) -> Denoiser:
    """At data itself nothing is estimated: networks have seen noise only, and there is none."""
    return lambda x, t: x if path.at(t).sigma == 0.0 else denoise(x, t)
