"""Bounds of the VAE: pythae's numbers for the same codes, the closed form of the divergence, and their order."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from picture_world import pictures
from torch.distributions import Normal, kl_divergence

from genwerk.generators.family import Batch, Space
from genwerk.generators.picture_examples import to_numbers
from genwerk.generators.vae import VAE, Posterior, VAEConfig, elbo, iwae, kl_normal

SPACE = Space((1, 8, 8), classes=2)


def vae(**more: Any) -> VAE:
    torch.manual_seed(0)
    made = VAE(VAEConfig(codes=4, width=8, **more), SPACE)
    made.network.eval()
    return made


def world(model: VAE, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    some = pictures(count)
    return model.read(to_numbers(some.pixels)), torch.from_numpy(some.labels)


def test_the_divergence_is_torchs() -> None:
    mean, log_deviation = torch.randn(2, 5, 4).unbind()
    theirs = kl_divergence(Normal(mean, log_deviation.exp()), Normal(torch.zeros(4), torch.ones(4)))
    assert torch.allclose(kl_normal(Posterior(mean, log_deviation)), theirs, atol=1e-5)


def test_the_elbo_is_pythaes(monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("pythae.models")
    model = vae()
    x, given = world(model)
    posterior = model.posterior(x, given)
    z = posterior.draw()
    monkeypatch.setattr(Posterior, "draw", lambda _: z)
    settings = SimpleNamespace(model_config=SimpleNamespace(reconstruction_loss="bce"))
    whole, _, _ = models.VAE.loss_function(
        settings, (model.decode(z, given) + 1) / 2, (x + 1) / 2, posterior.mean, 2 * posterior.log_deviation, z
    )
    assert float(-elbo(model, x, given).mean()) == pytest.approx(float(whole), rel=1e-5)
    loss = model.loss(Batch(x, given))
    assert loss.parts["bound"] == pytest.approx(float(whole), rel=1e-5)


def test_the_iwae_bound_is_pythaes(monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("pythae.models")
    model = vae()
    x, given = world(model)
    posterior = model.posterior(x, given)
    draws = [posterior.draw() for _ in range(5)]
    left = iter(draws)
    monkeypatch.setattr(Posterior, "draw", lambda _: next(left))
    ours = iwae(model, x, given, draws=5)
    settings = SimpleNamespace(model_config=SimpleNamespace(reconstruction_loss="bce"), n_samples=1)
    weights = torch.zeros(5, len(x))
    for number, z in enumerate(draws):
        for row in range(len(x)):
            some = slice(row, row + 1)
            made = ((model.decode(z[some], given[some]) + 1) / 2).reshape(1, 1, -1)
            mean, log_variance = posterior.mean[some, None], 2 * posterior.log_deviation[some, None]
            loss, _, _ = models.IWAE.loss_function(settings, made, (x[some] + 1) / 2, mean, log_variance, z[some, None])
            weights[number, row] = -loss
    assert torch.allclose(ours, weights.logsumexp(0) - math.log(5), rtol=1e-5)


def test_more_draws_are_a_tighter_bound() -> None:
    model = vae()
    x, given = world(model, 64)
    torch.manual_seed(1)
    one = torch.stack([elbo(model, x, given) for _ in range(20)]).mean()
    few, many = iwae(model, x, given, draws=5).mean(), iwae(model, x, given, draws=200).mean()
    assert float(one) < float(few) < float(many)


def test_free_bits_cost_nothing() -> None:
    model, free = vae(), vae(free=100.0)
    x, given = world(model)
    torch.manual_seed(1)
    paid = model.loss(Batch(x, given))
    torch.manual_seed(1)
    flat = free.loss(Batch(x, given))
    difference = float((paid.value - flat.value).detach())
    assert difference == pytest.approx(paid.parts["kl"] - 4 * 100.0, rel=1e-4)
    assert paid.parts == pytest.approx(flat.parts)


def test_the_gaussian_likelihood_is_a_normal_one() -> None:
    model = vae(likelihood="gaussian")
    x, given = to_numbers(pictures(6).pixels), torch.from_numpy(pictures(6).labels)
    z = torch.randn(6, 4)
    made = model.decode(z, given)
    deviation = (x - made).square().mean().sqrt()
    theirs = Normal(made, deviation).log_prob(x).flatten(1).sum(1)
    assert torch.allclose(model.log_likelihood(x, z, given), theirs, rtol=1e-4)


def test_coins_have_the_pixels_for_their_mean() -> None:
    model = vae()
    grey = torch.full((1, 1, 8, 8), 0.5).expand(500, 1, 8, 8)
    coins = model.read(grey)
    assert set(coins.unique().tolist()) == {-1.0, 1.0} and abs(float(coins.mean()) - 0.5) < 0.02
