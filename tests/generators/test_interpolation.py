"""Arcs between draws: their ends are the draws, and every point on them is as long as noise is."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.generators.family import Space
from genwerk.generators.interpolation import between, slerp
from genwerk.generators.noise import Noise
from genwerk.generators.vae import VAE, VAEConfig


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.floats(0, 1))
def test_an_arc_keeps_the_length(seed: int, share: float) -> None:
    torch.manual_seed(seed)
    a, b = torch.nn.functional.normalize(torch.randn(2, 300)).unbind()
    found = slerp(a, b, torch.tensor([0.0, share, 1.0]))
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(found[0], a, atol=1e-5) and torch.allclose(found[2], b, atol=1e-5)


def test_the_same_and_opposite_draws_are_joined_by_a_line() -> None:
    a = torch.randn(1, 2, 2)
    assert torch.allclose(slerp(a, a, torch.linspace(0, 1, 3)), a.expand(3, 1, 2, 2), atol=1e-6)
    assert torch.isfinite(slerp(a, -a, torch.linspace(0, 1, 3))).all()


def test_ends_are_draws_of_the_seed() -> None:
    vae = VAE(VAEConfig(codes=6, width=4), Space((1, 8, 8)))
    found = between(vae, 7, 2, 5, 4)
    assert found.shape == (4, 6)
    for place, draw in ((0, 2), (3, 5)):
        assert torch.allclose(found[place], Noise(7, 1, first=draw).draw((6,))[0], atol=1e-5)
