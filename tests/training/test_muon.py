"""Muon moves matrices by orthogonal steps of AdamW's size, everything else by AdamW, and both survive a kill."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genwerk.training.muon import MuonWithAdamW
from genwerk.training.optimiser import make_adamw, set_lr


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(7, 16), nn.Linear(16, 48, bias=False), nn.LayerNorm(48), nn.Linear(48, 16))


def step(module: nn.Module, optimiser: MuonWithAdamW, seed: int) -> None:
    torch.manual_seed(seed)
    module(torch.randint(0, 7, (32,))).square().mean().backward()
    optimiser.step()
    optimiser.zero_grad()


def test_a_step_of_a_matrix_is_nearly_orthogonal_and_as_long_as_adamws() -> None:
    module = network()
    before = module[1].weight.detach().clone()
    optimiser = MuonWithAdamW(module, 0.01, 0.0, (0.9, 0.99))
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimiser.step()
    moved = (before - module[1].weight.detach()) / 0.01  # (48, 16)
    values = torch.linalg.svdvals(moved) / (0.2 * 48**0.5)
    assert values.min() > 0.6 and values.max() < 1.3  # five steps of Newton and Schulz come so near to 1
    assert 0.1 < float(moved.square().mean().sqrt()) < 0.3  # as measured of AdamW by the source


def test_embeddings_and_vectors_move_as_adamw_moves_them() -> None:
    ours, plain = network(), network()
    optimiser = MuonWithAdamW(ours, 0.01, 0.1, (0.9, 0.99))
    reference = make_adamw(plain.parameters(), 0.01, 0.1, (0.9, 0.99))
    for module, mover in ((ours, optimiser), (plain, reference)):
        torch.manual_seed(1)
        module(torch.randint(0, 7, (32,))).square().mean().backward()
        mover.step()
    assert torch.equal(ours[0].weight, plain[0].weight) and torch.equal(ours[2].weight, plain[2].weight)
    assert torch.equal(ours[3].bias, plain[3].bias) and not torch.equal(ours[3].weight, plain[3].weight)


def test_taken_down_and_set_up_again_it_goes_on_the_same() -> None:
    whole = network()
    optimiser = MuonWithAdamW(whole, 0.01, 0.1, (0.9, 0.99))
    for seed in range(4):
        step(whole, optimiser, seed)
    first = network()
    half = MuonWithAdamW(first, 0.01, 0.1, (0.9, 0.99))
    for seed in range(2):
        step(first, half, seed)
    second = network()
    second.load_state_dict(first.state_dict())
    rest = MuonWithAdamW(second, 0.01, 0.1, (0.9, 0.99))
    rest.load_state_dict(half.state_dict())
    for seed in range(2, 4):
        step(second, rest, seed)
    pairs = zip(whole.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_one_learning_rate_serves_both() -> None:
    optimiser = MuonWithAdamW(network(), 0.01, 0.0, (0.9, 0.99))
    set_lr(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == [0.5] * len(optimiser.param_groups)


def test_without_a_matrix_there_is_nothing_for_it() -> None:
    with pytest.raises(ValueError, match="no matrix"):
        MuonWithAdamW(nn.LayerNorm(4), 0.1, 0.0, (0.9, 0.99))
