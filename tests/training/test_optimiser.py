"""AdamW: the paper's algorithm written out, and torch's plain implementation, give the same weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter

from genwerk.training.optimiser import make_adamw, set_lr


def parameters() -> list[Parameter]:
    torch.manual_seed(3)
    return [Parameter(torch.randn(5, 4)), Parameter(torch.randn(4)), Parameter(torch.randn(2, 2), requires_grad=False)]


def gradients(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(5, 4, generator=generator), torch.randn(4, generator=generator)


def test_twenty_steps_equal_the_algorithm_of_the_paper() -> None:
    params = parameters()
    optimiser = make_adamw(params, 0.1, 0.3, (0.8, 0.9), 1e-8)
    mine = [p.detach().clone().double() for p in params[:2]]
    m, v = [torch.zeros_like(p) for p in mine], [torch.zeros_like(p) for p in mine]
    for t in range(1, 21):
        lr = 0.1 / t
        set_lr(optimiser, lr)
        for i, g in enumerate(gradients(t)):
            params[i].grad = g.clone()
            m[i] = 0.8 * m[i] + 0.2 * g.double()
            v[i] = 0.9 * v[i] + 0.1 * g.double() ** 2
            decay = 0.3 if i == 0 else 0.0  # the vector does not decay
            mine[i] = mine[i] - lr * (m[i] / (1 - 0.8**t) / ((v[i] / (1 - 0.9**t)).sqrt() + 1e-8) + decay * mine[i])
        optimiser.step()
    for ours, theirs in zip(mine, params, strict=False):
        torch.testing.assert_close(theirs.detach().double(), ours, rtol=1e-5, atol=1e-6)


def test_twenty_steps_equal_torch_without_fusing() -> None:
    ours, theirs = parameters(), parameters()
    first = make_adamw(ours, 0.01, 0.1)
    groups = [{"params": [theirs[0]], "weight_decay": 0.1}, {"params": [theirs[1]], "weight_decay": 0.0}]
    second = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), foreach=False, fused=False)
    for t in range(20):
        for params in (ours, theirs):
            params[0].grad, params[1].grad = gradients(t)
        first.step()
        second.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_a_learning_rate_of_zero_moves_no_weight_by_a_single_bit() -> None:
    params, before = parameters(), parameters()
    optimiser = make_adamw(params, 0.0, 0.1)
    params[0].grad, params[1].grad = gradients(0)
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))


def test_nothing_to_optimise_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to optimise"):
        make_adamw([Parameter(torch.ones(2), requires_grad=False)], 0.1)
