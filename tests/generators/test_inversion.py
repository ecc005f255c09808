"""Back to noise and there again: in a world whose flow is known, and for every family that has a way back."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from oracle_world import GaussianWorld
from picture_world import pictures
from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.generators.diffusion import Diffusion, DiffusionConfig
from genwerk.generators.family import Ask, Family, Space, sample
from genwerk.generators.flow import Flow, FlowConfig
from genwerk.generators.inversion import invert, transfer
from genwerk.generators.latent import Latent, LatentConfig
from genwerk.generators.networks import NetworkConfig
from genwerk.generators.picture_examples import to_numbers
from genwerk.generators.storage import make_family
from genwerk.generators.vae import VAE, VAEConfig
from genwerk.training.seeding import seed_step

SPACE = Space((1, 4, 4), classes=2)
NETWORK = NetworkConfig(width=8, multipliers=(1,))
MEANS, DEVIATIONS = (-0.2, 0.3), (0.15, 0.25)  # of the two classes
ORDERS = {"euler": 1, "heun": 2, "dpm_solver": 2}


class KnownFlow(Flow):
    """A flow between two Gaussians of pictures whose estimate is the exact one."""

    def estimate(self, x: Tensor, t: float, given: Tensor | None) -> Tensor:
        return _exact(self.path, x, t, given)


class KnownDiffusion(Diffusion):
    """The same on the paths of diffusion."""

    def estimate(self, x: Tensor, t: float, given: Tensor | None) -> Tensor:
        return _exact(self.path, x, t, given)


def _exact(path: Any, x: Tensor, t: float, given: Tensor | None) -> Tensor:
    assert given is not None
    mean, deviation = (torch.tensor(one, dtype=x.dtype)[given][:, None, None, None] for one in (MEANS, DEVIATIONS))
    world: Any = GaussianWorld(path, mean, deviation)  # type: ignore[arg-type]  # numbers of each picture
    found: Tensor = world.denoise(x, t)
    return found


def known(name: str) -> Flow | Diffusion:
    if name.startswith("flow"):
        return KnownFlow(FlowConfig(network=NETWORK, shift=3.0 if name == "flow-shift" else 1.0), SPACE)
    path: Any = name.partition("-")[2]
    return KnownDiffusion(DiffusionConfig(network=NETWORK, path=path), SPACE)


def start(count: int = 6) -> tuple[Tensor, Tensor]:
    kinds = torch.arange(count) % 2
    draw = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    spread, mean = torch.tensor(DEVIATIONS)[kinds], torch.tensor(MEANS)[kinds]
    return draw * spread[:, None, None, None] + mean[:, None, None, None], kinds


KNOWN = pytest.mark.parametrize("name", ["flow", "flow-shift", "diffusion-linear", "diffusion-cosine", "diffusion-edm"])
SOLVERS = pytest.mark.parametrize("solver", ORDERS)


@KNOWN
@SOLVERS
def test_a_picture_comes_back_and_the_error_falls_with_the_order(name: str, solver: str) -> None:
    """Mean over two doublings; a path of betas has whole times and a steep end, which cost part of the second order."""
    family, (x, kinds), errors = known(name), start(), []
    for steps in (25, 100):
        back = invert(family, Ask(len(x), given=kinds, start=x, steps=steps, solver=solver))
        errors.append(float((sample(family, back) - x).abs().max()))
    least = 0.75 if ORDERS[solver] == 1 else 1.2 if name in ("diffusion-linear", "diffusion-cosine") else 1.6
    assert math.log2(errors[0] / errors[-1]) / 2 > least, errors
    assert errors[-1] < (0.1 if ORDERS[solver] == 1 else 0.05)


@KNOWN
def test_the_noise_is_that_of_the_exact_flow(name: str) -> None:
    family, (x, kinds) = known(name), start()
    found = invert(family, Ask(len(x), given=kinds, start=x, steps=200, solver="heun")).noise
    assert found is not None
    top = family.path.times(200)[0]
    for one, kind, eps in zip(x, kinds.tolist(), found, strict=True):
        world = GaussianWorld(family.path, MEANS[kind], DEVIATIONS[kind])
        torch.testing.assert_close(eps, world.flow(one, 0, top) / family.path.at(top).sigma, atol=0.01, rtol=0)


@SOLVERS
def test_one_gaussian_becomes_the_other_by_the_exact_map(solver: str) -> None:
    """Between two Gaussians it is x' = m_B + (x - m_A) d_B / d_A, on the straight path exactly so."""
    family, (x, kinds), errors = known("flow"), start(), []
    source, target = kinds, 1 - kinds
    m, d = torch.tensor(MEANS, dtype=torch.float64), torch.tensor(DEVIATIONS, dtype=torch.float64)
    wide = (slice(None), None, None, None)
    exact = m[target][wide] + (x - m[source][wide]) * (d[target] / d[source])[wide]
    for steps in (40, 80, 160):
        made = transfer(family, Ask(len(x), given=source, start=x, steps=steps, solver=solver), target)
        errors.append(float((made - exact.clamp(-1, 1)).abs().max()))
    rates = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert rates[-1] > ORDERS[solver] - 0.3 and errors[-1] < (0.05 if ORDERS[solver] == 1 else 0.01), (errors, rates)


@pytest.mark.parametrize("strength", [0.2, 0.5, 1.0])
def test_a_shorter_way_changes_less_and_comes_back_too(strength: float) -> None:
    family, (x, kinds) = known("flow"), start()
    ask = Ask(len(x), given=kinds, start=x, steps=50, solver="heun", strength=strength)
    back = invert(family, ask)
    assert (back.start is None) == (strength == 1.0) and back.noise is not None and back.noise.shape == x.shape
    assert float((sample(family, back) - x).abs().max()) < 0.005
    moved = (transfer(family, ask, 1 - kinds) - x).abs().mean()
    least = transfer(family, Ask(len(x), given=kinds, start=x, steps=50, solver="heun", strength=0.1), 1 - kinds) - x
    assert float(moved) > float(least.abs().mean())


# Networks, untrained but for their last layer: flows that are smooth, of no particular data

WITH_A_WAY = {
    "flow": ("flow", {"network": {"width": 8, "multipliers": (1, 2)}}),
    "flow-dit": ("flow", {"network": {"kind": "dit", "width": 32, "depth": 1, "heads": 2}}),
    "diffusion": ("diffusion", {"network": {"width": 8, "multipliers": (1, 2)}}),
    "diffusion-edm": ("diffusion", {"network": {"width": 8, "multipliers": (1, 2)}, "path": "edm"}),
    "vae": ("vae", {"codes": 4, "width": 4, "likelihood": "gaussian"}),
}  # fmt: skip


def made(name: str) -> Family:
    kind, settings = WITH_A_WAY[name]
    seed_step(0)
    family = make_family(kind, settings, Space((1, 8, 8), classes=2))
    for weight in family.network.parameters():
        with torch.no_grad():
            weight.add_(0.02 * torch.randn_like(weight))
    return family


def asked(count: int, **more: Any) -> Ask:
    return Ask(count, given=torch.arange(count) % 2, start=0.6 * to_numbers(pictures(count).pixels), **more)


@pytest.mark.parametrize("name", [name for name in WITH_A_WAY if name != "vae"])
def test_networks_bring_pictures_back_better_in_more_steps(name: str) -> None:
    family, errors = made(name), []
    for steps in (8, 96):
        ask = asked(4, steps=steps, solver="heun")
        assert ask.start is not None
        errors.append(float((sample(family, invert(family, ask)) - ask.start).abs().max()))
    assert errors[1] < (0.2 if name == "diffusion" else 0.02) and errors[1] < 0.3 * errors[0], errors


@pytest.mark.parametrize("name", WITH_A_WAY)
def test_each_picture_has_its_own_noise_alone_and_among_many(name: str) -> None:
    family, more = made(name), {} if name == "vae" else {"steps": 4}
    many = invert(family, asked(6, **more), together=4).noise
    alone = invert(family, asked(6, **more).part(5, 6)).noise
    assert many is not None and alone is not None and many.shape == (6, *family.noise_shape)
    assert torch.allclose(many[5], alone[0], atol=2e-5) and not torch.allclose(many[3], many[5], atol=1e-3)


def test_a_vae_goes_back_to_the_mean_of_its_codes() -> None:
    family = made("vae")
    assert isinstance(family, VAE)
    ask = asked(4)
    back = invert(family, ask)
    assert ask.start is not None and back.noise is not None
    with torch.no_grad():
        z = family.posterior(ask.start, ask.given).mean
        assert torch.equal(back.noise, z) and torch.equal(sample(family, back), family.decode(z, ask.given))


def test_a_latent_goes_back_through_its_codec() -> None:
    codec = VAEConfig(codes=2, halvings=1, likelihood="gaussian", width=8)
    prior = FlowConfig(network=NetworkConfig(kind="dit", width=32, depth=1, heads=2, patch=1))
    seed_step(0)
    family = Latent(LatentConfig(codec=codec, prior=prior), Space((1, 8, 8), classes=2))
    with torch.no_grad():
        for weight in family.prior.network.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
        family.network.eval()
        for strength in (0.5, 1.0):
            ask = asked(4, steps=60, solver="heun", strength=strength)
            assert ask.start is not None
            back = invert(family, ask)
            assert back.noise is not None and back.noise.shape == (4, *family.noise_shape)
            assert torch.allclose(sample(family, back), family.decode(family.encode(ask.start)), atol=0.02)


def test_what_is_kept_stays_to_the_bit() -> None:
    family, keep = made("flow"), torch.zeros(4, 1, 8, 8, dtype=torch.bool)
    keep[..., :3] = True
    ask = asked(4, steps=6, keep=keep)
    assert ask.start is not None and ask.given is not None
    made_anew = transfer(family, ask, 1 - ask.given)
    assert torch.equal(made_anew[keep], ask.start[keep]) and not torch.equal(made_anew, ask.start)


def test_what_cannot_be_is_refused() -> None:
    family = made("flow")
    gan = make_family("gan", {"codes": 4, "width": 4}, Space((1, 8, 8), classes=2))
    wrong = torch.zeros(2, 1, 8, 4)
    for one, ask, message in (
        (gan, asked(2), "a GAN cannot take a picture back"),
        (family, Ask(2), "no picture to take back"),
        (family, Ask(2, start=wrong), "has the shape"),
        (made("vae"), Ask(2, start=wrong), "has the shape"),
        (made("vae"), asked(2, strength=0.5), "cannot be asked for `strength`"),
        (family, asked(2, solver="ancestral"), "no way back"),
        (family, asked(2, solver="rk45"), "there is no solver"),
        (family, Ask(2, start=torch.zeros(2, 1, 8, 8), given=torch.tensor([0, 5])), "there are 2 classes"),
    ):
        with pytest.raises(RequestError, match=message):
            invert(one, ask)
