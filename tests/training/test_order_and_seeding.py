"""Data order is a function of (seed, step), every example comes once per epoch, like lengths come together."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.training.order import LengthSortedOrder
from genwerk.training.seeding import deterministic, generator, seed_step

lengths_lists = st.lists(st.integers(1, 400), min_size=1, max_size=60)


@given(lengths_lists, st.integers(1, 9), st.integers(0, 5), st.integers(0, 3))
@settings(deadline=None)
def test_every_epoch_reads_every_example_once(lengths: list[int], batch: int, seed: int, epoch: int) -> None:
    order = LengthSortedOrder(lengths, batch, seed)
    steps = range(epoch * order.batches_per_epoch, (epoch + 1) * order.batches_per_epoch)
    assert sorted(index for step in steps for index in order.at(step)) == list(range(len(lengths)))


@given(lengths_lists, st.integers(0, 40))
@settings(deadline=None)
def test_a_step_asked_alone_is_the_step_of_the_whole_run(lengths: list[int], step: int) -> None:
    whole = LengthSortedOrder(lengths, 3, 1)
    before = [whole.at(s) for s in range(step + 1)]
    assert LengthSortedOrder(lengths, 3, 1).at(step) == before[-1]


def test_little_is_padded() -> None:
    lengths = [int(n) for n in generator(0).integers(50, 450, 400)]
    order = LengthSortedOrder(lengths, 4, 0)
    batches = [order.at(step) for step in range(order.batches_per_epoch)]
    computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert computed / sum(lengths) < 1.06


def test_epochs_and_seeds_differ() -> None:
    lengths = list(range(1, 101))
    order = LengthSortedOrder(lengths, 4, 0)
    assert [order.at(s) for s in range(25)] != [order.at(s) for s in range(25, 50)]
    assert order.at(0) != LengthSortedOrder(lengths, 4, 1).at(0)


def test_torch_draws_the_same_after_seeding_the_same_step() -> None:
    seed_step(1, 5)
    first = torch.rand(3)
    seed_step(1, 6)
    assert not torch.equal(torch.rand(3), first)
    seed_step(1, 5)
    assert torch.equal(torch.rand(3), first)


def test_determinism_is_switched_back() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with deterministic(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() == before
