"""Accumulation is one large batch, clipping keeps the direction, and a loss that is no number stops the run."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Parameter

from genwerk.core.errors import TrainingError
from genwerk.training.gradients import accumulate, check_finite, clip_gradients

torch.manual_seed(0)
INPUTS, TARGETS = torch.randn(12, 6), torch.randint(0, 5, (12,))


def run(cuts: list[int]) -> tuple[float, Tensor]:
    """Loss and gradient with the batch cut before these rows."""
    weight = Parameter(torch.arange(30.0).view(5, 6) / 30)
    edges = [0, *sorted(set(cuts)), 12]
    parts = [slice(a, b) for a, b in itertools.pairwise(edges) if a < b]

    def summed(rows: slice) -> Tensor:
        return F.cross_entropy(F.linear(INPUTS[rows], weight), TARGETS[rows], reduction="sum")

    loss = accumulate(parts, summed, 12)
    assert weight.grad is not None
    return loss, weight.grad


@given(st.lists(st.integers(1, 11), max_size=6))
@settings(deadline=None)
def test_any_split_into_uneven_micro_batches_gives_the_gradient_of_the_whole_batch(cuts: list[int]) -> None:
    whole_loss, whole = run([])
    loss, gradient = run(cuts)
    assert loss == pytest.approx(whole_loss, rel=1e-6)
    torch.testing.assert_close(gradient, whole, rtol=1e-5, atol=1e-7)


def test_clipping_cuts_the_norm_and_keeps_the_direction() -> None:
    parameters = [Parameter(torch.zeros(1)), Parameter(torch.zeros(2))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0]), torch.tensor([0.0, 4.0])
    found = clip_gradients(parameters, 1.0)
    assert found.norm == pytest.approx(5.0)
    assert found.clipped
    assert parameters[0].grad is not None and parameters[0].grad.item() == pytest.approx(0.6, rel=1e-5)
    assert parameters[1].grad is not None and parameters[1].grad[1].item() == pytest.approx(0.8, rel=1e-5)


@pytest.mark.parametrize("limit", [0.0, 5.1])
def test_below_the_limit_or_without_one_gradients_stay_as_they_are(limit: float) -> None:
    parameter = Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    found = clip_gradients([parameter], limit)
    assert not found.clipped
    assert parameter.grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_no_number_stops_with_the_step_and_a_remedy(loss: float, norm: float) -> None:
    with pytest.raises(TrainingError, match=r"at step 17.*Lower `lr`"):
        check_finite(17, loss, norm, 0.01)
