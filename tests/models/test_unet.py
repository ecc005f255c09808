"""The U-Net: its shapes, that it begins as nothing, that pictures do not see each other, and that sizes are checked."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.errors import ModelError
from genwerk.models.condition import Condition, drop, none_like
from genwerk.models.dit import DiT
from genwerk.models.unet import Doubling, UNet, waves


def networks(**told: int) -> list[torch.nn.Module]:
    torch.manual_seed(0)
    unet = UNet(2, width=16, multipliers=(1, 2), blocks=2, attention=(1,), **told)
    dit = DiT((2, 8, 12), width=32, depth=2, heads=2, patch=2, **told)
    return [unet, dit]


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """Without the zeros that it begins with."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(std=0.1)
    return network.eval()


def test_they_begin_as_nothing() -> None:
    for network in networks():
        assert not network(torch.randn(2, 2, 8, 12), torch.rand(2)).any()


def test_every_weight_is_used_and_no_picture_sees_another() -> None:
    for network in networks(classes=3):
        awake(network)
        x, t, given = torch.randn(4, 2, 8, 12), torch.rand(4), torch.tensor([0, 1, 2, -1])
        found = network(x, t, given)
        assert found.shape == x.shape
        assert torch.allclose(network(x[1:2], t[1:2], given[1:2]), found[1:2], atol=1e-5)
        found.square().sum().backward()
        unused = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert unused == []


def test_time_and_condition_matter() -> None:
    for network in networks(vector=5):
        awake(network)
        x, given = torch.randn(1, 2, 8, 12), torch.randn(1, 5)
        with torch.no_grad():
            found = network(x, torch.tensor([0.3]), given)
            assert not torch.allclose(network(x, torch.tensor([0.4]), given), found)
            assert not torch.allclose(network(x, torch.tensor([0.3]), -given), found)
            nothing = network(x, torch.tensor([0.3]), torch.zeros(1, 5))
            assert torch.allclose(network(x, torch.tensor([0.3]), None), nothing)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be halved"):
        UNet(1, width=8, multipliers=(1, 1, 1))(torch.zeros(1, 1, 6, 8), torch.zeros(1))
    with pytest.raises(ModelError, match="12 wide"):
        UNet(1, width=12)
    with pytest.raises(ModelError, match="does not come out even"):
        DiT((1, 8, 9), width=32, heads=2)


def test_waves_tell_times_apart() -> None:
    found = waves(torch.linspace(0, 1, 100), 32)
    assert found.shape == (100, 32) and float(torch.pdist(found).min()) > 0.05


def test_a_condition_is_by_class_by_vector_or_none() -> None:
    torch.manual_seed(0)
    by_class, by_vector, neither = Condition(4, classes=3), Condition(4, vector=2), Condition(4)
    torch.nn.init.ones_(by_class.none), torch.nn.init.ones_(by_vector.none)
    found = by_class(torch.tensor([2, -1]), 2)
    assert torch.equal(found[0], by_class.table.weight[2]) and torch.equal(found[1], torch.ones(4))
    found = by_vector(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), 2)
    assert torch.allclose(found[0], by_vector.project.weight[:, 0]) and torch.equal(found[1], torch.ones(4))
    assert not neither(None, 3).any() and neither(None, 3).shape == (3, 4)
    with pytest.raises(ModelError):
        Condition(4, classes=2, vector=2)


def test_conditions_are_hidden_in_about_the_share_asked_for() -> None:
    torch.manual_seed(0)
    classes, vectors = torch.zeros(4000, dtype=torch.int64), torch.ones(4000, 3)
    assert abs(float((drop(classes, 0.2) < 0).float().mean()) - 0.2) < 0.03
    hidden = ~drop(vectors, 0.2).any(1)
    assert abs(float(hidden.float().mean()) - 0.2) < 0.03
    assert torch.equal(drop(classes, 0.0), classes)
    assert (none_like(classes) == -1).all() and not none_like(vectors).any()


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_doubling_is_interpolation_and_a_convolution(height: int, width: int, channels: int, out: int) -> None:
    torch.manual_seed(0)
    layer, x = Doubling(channels, out, 3, padding=1), torch.randn(2, channels, height, width, requires_grad=True)
    slow = F.conv2d(F.interpolate(x, scale_factor=2.0), layer.weight, layer.bias, padding=1)
    found, toward = layer(x), torch.randn_like(slow)
    torch.testing.assert_close(found, slow, atol=1e-5, rtol=1e-5)
    wanted = torch.autograd.grad(slow, [x, *layer.parameters()], toward)
    got = torch.autograd.grad(found, [x, *layer.parameters()], toward)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
