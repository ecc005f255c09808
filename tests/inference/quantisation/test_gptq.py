"""GPTQ against its definition: the greedy closed form without blocks, rounding where nothing can be made up for."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genwerk.core.errors import ModelError
from genwerk.inference.native.pack import Grid, pack, widest_grid
from genwerk.inference.quantisation.gptq import gptq, round_nearest
from genwerk.inference.quantisation.grids import fitted_grid, nearest

PRECISIONS = ("int8", "int4")


def drawn(outputs: int, inputs: int, seed: int = 0, *, tokens: int = 0) -> tuple[Tensor, Tensor]:
    """Weights, and the gram matrix of correlated inputs of very different size."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator)
    mixed = torch.randn(inputs, inputs, generator=generator) / inputs**0.5 + torch.eye(inputs)
    sizes = torch.rand(inputs, 1, generator=generator) * 3 + 0.05
    x = sizes * (mixed @ torch.randn(inputs, tokens or 4 * inputs, generator=generator))
    return weight, x @ x.t()


def lost(weight: Tensor, rounded: Tensor, gram: Tensor) -> float:
    error = (weight - rounded).double()
    return float(((error @ gram.double()) * error).sum())


def closed_form(weight: Tensor, gram: Tensor, grid: Grid, damping: float) -> Tensor:
    """Column by column, each time with the inverse of what is left: no Cholesky factor, no blocks, float64.

    Optimal Brain Compression: w_F <- w_F - (w_j - q_j) [H_F^-1]_j / [H_F^-1]_jj for the columns F still to come.
    """
    left = weight.double().clone()
    damped = gram.double() + damping * gram.double().diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    for j in range(weight.shape[1]):
        inverse = damped[j:, j:].inverse()
        value = nearest(left.float(), grid)[:, j].double()
        error = (left[:, j] - value) / inverse[0, 0]
        left[:, j:] -= error[:, None] * inverse[0][None]
        left[:, j] = value
    return left.float()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("block", [32, 64, 128])
def test_blocks_and_factor_equal_the_closed_form(precision: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, gram = drawn(24, 96)
    grid = fitted_grid(weight, torch.ones(96), precision)
    monkeypatch.setattr("genwerk.inference.quantisation.gptq.fitted_grid", lambda *_: grid)
    monkeypatch.setattr(
        "genwerk.inference.quantisation.gptq.fit_half_bytes",
        lambda values, importance: next(groups),
    )
    assert grid.lowest is not None or precision == "int8"
    groups = iter([] if grid.lowest is None else zip(grid.scale.t(), grid.lowest.t(), strict=True))
    found = gptq(weight, gram, precision, damping=0.01, block=block).weight
    wanted = closed_form(weight, gram, grid, 0.01)
    assert torch.isclose(found, wanted, atol=1e-5).float().mean() > 0.995  # a value near a half may fall either way
    assert lost(weight, found, gram) == pytest.approx(lost(weight, wanted, gram), rel=0.01)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("act_order", [False, True])
def test_independent_inputs_leave_nothing_to_make_up_for(precision: str, act_order: bool) -> None:
    """With a diagonal gram matrix rounding each weight by itself is the optimum, and GPTQ is that."""
    weight, _ = drawn(40, 64)
    gram = torch.diag(torch.rand(64) + 0.1)
    found = gptq(weight, gram, precision, act_order=act_order)
    assert torch.equal(found.weight, round_nearest(weight, found.grid).weight)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_less_is_lost_than_by_rounding_to_nearest(precision: str, act_order: bool, seed: int) -> None:
    weight, gram = drawn(48, 128, seed)
    plain = lost(weight, round_nearest(weight, widest_grid(weight, precision)).weight, gram)
    fitted = fitted_grid(weight, gram.diagonal(), precision)
    found = gptq(weight, gram, precision, act_order=act_order).weight
    assert lost(weight, found, gram) < 0.75 * lost(weight, nearest(weight, fitted), gram)
    assert lost(weight, found, gram) < 0.7 * plain


def test_near_the_best_of_all_roundings_in_two_inputs() -> None:
    """Two inputs that say nearly the same: the pair of neighbours that is best together is found, not the nearest."""
    weight = torch.zeros(1, 32)
    weight[0, :2] = torch.tensor([0.34, 0.34])
    gram = torch.zeros(32, 32)
    gram[:2, :2] = torch.tensor([[1.0, 0.98], [0.98, 1.0]])
    scale = torch.tensor([[0.25]])
    grid = Grid(scale, torch.zeros(1, 1))
    choices = [torch.tensor([[a, b]]) for a, b in itertools.product((0.25, 0.5), repeat=2)]
    best = min(choices, key=lambda pair: lost(weight[:, :2], pair, gram[:2, :2]))
    assert best.sum() == 0.75 and nearest(weight, grid)[0, :2].sum() == 0.5
    found = closed_form(weight[:, :2].repeat(1, 16), torch.kron(torch.eye(16), gram[:2, :2]), grid, 1e-6)
    assert found[0, :2].sum() == best.sum()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("act_order", [False, True])
def test_weights_that_lie_on_a_grid_stay(precision: str, act_order: bool) -> None:
    """A model rounded by others, such as one read from Q4_1, loses nothing a second time."""
    weight, gram = drawn(32, 64)
    there = nearest(weight, widest_grid(weight, precision))
    again = gptq(there, gram, precision, act_order=act_order).weight
    assert torch.allclose(again, there, atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(PRECISIONS), st.booleans())
def test_the_packed_weights_are_those_that_were_chosen(seed: int, precision: str, act_order: bool) -> None:
    """Packing on the chosen grid moves no weight: what was measured is what is served."""
    weight, gram = drawn(32, 64, seed)
    found = gptq(weight, gram, precision, act_order=act_order)
    assert torch.equal(nearest(found.weight, found.grid), found.weight)
    packed = pack(found.weight, None, precision, found.grid)
    again = pack(nearest(found.weight, found.grid), None, precision, found.grid)
    assert torch.equal(packed.data, again.data)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_fitted_grid_is_never_worse_than_the_widest(precision: str) -> None:
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(1)) ** 3
    weight[3] = 0
    weight[4] = 0.7
    importance = torch.rand(96) + 0.1
    loss = [
        ((weight - nearest(weight, grid)).square() * importance).sum(1)
        for grid in (fitted_grid(weight, importance, precision), widest_grid(weight, precision))
    ]
    assert (loss[0] <= loss[1] * (1 + 1e-6) + 1e-12).all()
    assert precision == "int8" or loss[0].sum() < 0.9 * loss[1].sum()
    assert torch.equal(nearest(weight, fitted_grid(weight, importance, precision))[3], weight[3])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inputs_that_are_always_zero_do_no_harm(precision: str) -> None:
    weight, gram = drawn(16, 64)
    gram[5], gram[:, 5] = 0, 0
    gram[32:], gram[:, 32:] = 0, 0
    found = gptq(weight, gram, precision)
    assert found.weight.isfinite().all()
    assert torch.equal(found.weight[:, 32:], nearest(weight, found.grid)[:, 32:])
    assert torch.equal(found.weight[:, 5], nearest(weight, found.grid)[:, 5])
    silent = gptq(weight, torch.zeros(64, 64), precision)
    assert torch.equal(silent.weight, nearest(weight, silent.grid))


def test_the_same_bits_every_time() -> None:
    weight, gram = drawn(64, 128)
    first, second = (gptq(weight.clone(), gram.clone(), "int4") for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert all(torch.equal(a, b) for a, b in zip(first.grid, second.grid, strict=True))


def test_what_is_not_a_number_is_refused() -> None:
    weight, gram = drawn(8, 32)
    gram[0, 0] = float("nan")
    with pytest.raises(ModelError, match="second moments"):
        gptq(weight, gram, "int4")
