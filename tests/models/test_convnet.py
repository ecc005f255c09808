"""Convolutional networks: shapes for every size, what the critic is told, and what it sees of a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.errors import ModelError
from genwerk.models.convnet import Critic, PictureDecoder, PictureEncoder, shrinks


@settings(deadline=None, max_examples=20)
@given(st.integers(4, 40), st.integers(4, 40), st.integers(1, 3))
def test_any_size_goes_there_and_back(height: int, width: int, channels: int) -> None:
    shape = (channels, height, width)
    z = PictureEncoder(shape, 5, width=4, most=8)(torch.randn(2, *shape))
    assert z.shape == (2, 5)
    assert PictureDecoder(5, shape, width=4, most=8)(z).shape == (2, *shape)
    assert Critic(shape, width=4, most=8)(torch.randn(2, *shape)).shape == (2,)


def test_pictures_are_halved_as_long_as_they_are_even() -> None:
    assert (shrinks(28, 28), shrinks(64, 64), shrinks(32, 8), shrinks(7, 7), shrinks(4, 4)) == (2, 4, 1, 0, 0)
    with pytest.raises(ModelError, match="too small"):
        shrinks(3, 8)


def test_the_critic_is_told_the_class_by_projection() -> None:
    torch.manual_seed(0)
    critic = Critic((1, 8, 8), width=4, classes=3)
    x = torch.randn(1, 1, 8, 8).expand(3, 1, 8, 8)
    scores = critic(x, torch.arange(3))
    assert len(set(scores.tolist())) == 3


def test_statistics_see_how_much_a_batch_differs() -> None:
    torch.manual_seed(0)
    blind, seeing = Critic((1, 8, 8), width=4), Critic((1, 8, 8), width=4, statistics=True)
    x = torch.randn(4, 1, 8, 8)
    alike = x[:1].expand(4, 1, 8, 8)
    assert torch.allclose(blind(alike)[:1], blind(x)[:1], atol=1e-6)
    assert not torch.allclose(seeing(alike)[:1], seeing(x)[:1], atol=1e-4)
    assert torch.allclose(seeing(x[:1]), seeing(alike)[:1], atol=1e-6)
