"""Losses of the GAN by their equations, gradients of penalties against finite differences, and augmentation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from picture_world import pictures
from torch import Tensor

from genwerk.generators.augment import augment
from genwerk.generators.family import Batch, Space
from genwerk.generators.gan import GAN, GANConfig, gradient_norm_squared
from genwerk.generators.picture_examples import to_numbers
from genwerk.models.convnet import Critic

SPACE = Space((1, 8, 8), classes=2)


def gan(**more: Any) -> GAN:
    torch.manual_seed(0)
    return GAN(GANConfig(codes=4, width=8, **more), SPACE)


def batch() -> Batch:
    some = pictures(6)
    return Batch(to_numbers(some.pixels), torch.from_numpy(some.labels))


def test_the_norm_of_a_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    critic = Critic((1, 8, 8), width=8, classes=2).double()
    x, given = batch().x.double().requires_grad_(), batch().given
    norm = gradient_norm_squared(critic(x, given), x)
    step, found = 1e-6, torch.zeros(len(x), dtype=torch.float64)
    for place in range(64):
        moved = torch.zeros(64, dtype=torch.float64)
        moved[place] = step
        moved = moved.view(1, 1, 8, 8)
        with torch.no_grad():
            found += ((critic(x + moved, given) - critic(x - moved, given)) / (2 * step)).square()
    assert torch.allclose(norm.detach(), found, rtol=1e-4)


@pytest.mark.parametrize("loss", ["relativistic", "nonsaturating", "wgan"])
def test_the_critics_gradient_is_that_of_finite_differences(loss: Any) -> None:
    """R1, R2 and the gradient penalty are differentiated twice; one weight of every layer is moved by hand."""
    model = gan(loss=loss, penalty=3.0)
    model.network.double()
    some = Batch(batch().x.double(), batch().given)

    def value() -> Tensor:
        torch.manual_seed(5)
        return model.critic_loss(some).value

    torch.set_default_dtype(torch.float64)
    try:
        value().backward()
        for name, weight in model.network.critic.named_parameters():
            assert weight.grad is not None, name
            place = int(weight.grad.abs().argmax())
            wanted, flat = float(weight.grad.flatten()[place]), weight.data.view(-1)
            before, step = float(flat[place]), 1e-6
            flat[place] = before + step
            above = float(value().detach())
            flat[place] = before - step
            below = float(value().detach())
            flat[place] = before
            assert (above - below) / (2 * step) == pytest.approx(wanted, rel=2e-3, abs=1e-7), name
    finally:
        torch.set_default_dtype(torch.float32)


def test_losses_are_their_equations() -> None:
    for loss, penalty in (("relativistic", 0.0), ("nonsaturating", 0.0), ("wgan", 0.0)):
        model = gan(loss=loss, penalty=penalty)
        torch.manual_seed(1)
        critic = model.critic_loss(batch()).value
        torch.manual_seed(1)
        made = model.make(torch.randn(6, 4), batch().given)
        real, fake = model.network.critic(batch().x, batch().given), model.network.critic(made, batch().given)
        wanted = {
            "relativistic": F.softplus(fake - real).mean(),
            "nonsaturating": (F.softplus(-real) + F.softplus(fake)).mean(),
            "wgan": (fake - real).mean(),
        }[loss]
        assert torch.allclose(critic, wanted, atol=1e-6), loss
        torch.manual_seed(1)
        generator = model.generator_loss(batch()).value
        wanted = {
            "relativistic": F.softplus(real - fake).mean(),
            "nonsaturating": F.softplus(-fake).mean(),
            "wgan": -fake.mean(),
        }[loss]
        assert torch.allclose(generator, wanted, atol=1e-6), loss


def test_labels_are_smoothed() -> None:
    torch.manual_seed(1)
    plain = gan(loss="nonsaturating", penalty=0.0).critic_loss(batch()).value
    torch.manual_seed(1)
    model = gan(loss="nonsaturating", penalty=0.0, smooth=0.1)
    torch.manual_seed(1)
    smooth = model.critic_loss(batch()).value
    real = model.network.critic(batch().x, batch().given)
    assert float((smooth - plain).detach()) == pytest.approx(
        float((0.1 * (F.softplus(real) - F.softplus(-real))).mean().detach()), abs=1e-2
    )


def test_the_generators_loss_moves_the_generator_only() -> None:
    model = gan()
    model.network.critic.requires_grad_(False)
    model.generator_loss(batch()).value.backward()
    assert all(weight.grad is None for weight in model.network.critic.parameters())
    assert any(weight.grad is not None and weight.grad.any() for weight in model.network.generator.parameters())


def test_spectral_norm_keeps_every_layer_at_one() -> None:
    model = gan(loss="nonsaturating", spectral=True)
    model.network.train()
    for _ in range(200):
        model.network.critic(batch().x, batch().given)
    with torch.no_grad():
        for module in model.network.critic.encoder.modules():
            if hasattr(module, "parametrizations"):
                values = torch.linalg.svdvals(module.weight.flatten(1))
                assert float(values[0]) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("way", ["shift", "cutout", "colour", "flip"])
def test_augmentation_passes_gradients_and_changes_each_in_its_own_way(way: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 16, 16).expand(12, 3, 16, 16).clone().requires_grad_()
    seen = augment(x, (way,))
    assert seen.shape == x.shape and len({tuple(one.flatten().tolist()) for one in seen}) > 1
    (gradient,) = torch.autograd.grad(seen.sum(), x)
    assert gradient.isfinite().all() and gradient.any()


def test_shifts_are_of_an_eighth_at_most_and_bring_darkness() -> None:
    torch.manual_seed(0)
    x = torch.full((200, 1, 16, 16), -1.0)
    x[:, :, 7:9, 7:9] = 1.0
    seen = augment(x, ("shift",))
    assert torch.equal(seen.flatten(1).sum(1), x.flatten(1).sum(1))
    lit = (seen > 0).nonzero()
    assert int(lit[:, 2:].min()) == 5 and int(lit[:, 2:].max()) == 10
