"""Priorities: the lower number goes first and takes what it needs; whoever waits long enough ranks with the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scheduler import Desk

from genwerk.core.errors import RequestError
from genwerk.core.types import Message, Request, Sampling
from genwerk.inference.engine import Engine
from genwerk.inference.scheduler import AGEING


def test_who_ranks_first_is_served_first_and_equals_by_arrival() -> None:
    desk = Desk(40, max_sequences=1, share=False)
    asked = [desk.ask([n] * 10, 3, priority=priority) for n, priority in enumerate((5, 0, -2, 0, 7))]
    desk.drain()
    assert desk.finished == [asked[2], asked[1], asked[3], asked[0], asked[4]]


def test_a_running_one_gives_its_place_to_one_that_ranks_before_it() -> None:
    desk = Desk(40, max_sequences=1)
    late = desk.ask([1] * 40, 20, priority=1)
    desk.steps_until(lambda: len(late.drawn) == 5, 10)
    said, first = list(late.drawn), desk.ask([2] * 40, 4)
    desk.step()
    assert desk.scheduler.running == [first] and late in desk.scheduler.waiting
    desk.drain()
    assert desk.finished == [first, late]
    assert late.drawn[:5] == said and len(late.drawn) == 20


def test_blocks_are_taken_from_those_that_rank_behind_and_from_nobody_else() -> None:
    desk = Desk(6, share=False)
    old, young = desk.ask([1] * 60, 30, priority=2), desk.ask([2] * 60, 30, priority=1)
    desk.steps_until(lambda: bool(young.drawn), 10)
    first = desk.ask([3] * 90, 2)
    desk.step()
    assert desk.scheduler.running == [first, young] and desk.scheduler.waiting == [old]
    equal = desk.ask([4] * 90, 2, priority=1)
    desk.step()
    assert young in desk.scheduler.running and equal in desk.scheduler.waiting
    desk.drain()


def test_where_blocks_run_out_the_last_in_rank_gives_way_though_it_is_older() -> None:
    desk = Desk(4, share=False)
    old, young = desk.ask([1] * 40, 60, priority=3), desk.ask([2] * 40, 60)
    desk.steps_until(lambda: len(desk.scheduler.running) == 1, 60)
    assert desk.scheduler.running == [young] and desk.scheduler.waiting == [old]
    desk.drain()


@given(
    priority=st.integers(1, 12),
    places=st.integers(1, 3),
    own=st.booleans(),
    blocks=st.integers(6, 12),
    limit=st.integers(1, 20),
)
@settings(max_examples=40, deadline=None)
def test_nobody_starves_behind_an_endless_stream(
    priority: int, places: int, own: bool, blocks: int, limit: int
) -> None:
    desk = Desk(blocks, max_sequences=places, share=False)
    patient = desk.ask([1] * 40, limit, "patient" if own else "", priority=priority)
    for step in range(priority * AGEING + 40 * (limit + 2)):
        if patient in desk.finished:
            return
        while len(desk.scheduler.waiting) < 3:
            desk.ask([step % 7] * 33, 3, priority=0)
        desk.step()
    raise AssertionError(f"still waiting with {len(patient.drawn)} tokens")


def test_those_that_waited_rank_with_the_best_and_not_before_them() -> None:
    desk = Desk(40, max_sequences=1, share=False)
    first = desk.ask([1] * 40, 200)
    waiting = [desk.ask([2 + n] * 10, 1, priority=n) for n in (1, 2)]
    desk.steps_until(lambda: len(first.drawn) == 5 * AGEING, 200)
    assert {desk.scheduler._rank(one) for one in (first, *waiting)} == {0}
    assert desk.scheduler.running == [first], "an equal took the place"
    desk.drain()


def test_an_answer_that_gave_way_has_the_same_bits(make_engine: Callable[..., Engine]) -> None:
    sampling = Sampling(max_tokens=40, temperature=1.0, logprobs=1)
    ask = Request((Message("user", "a long question " * 12),), sampling, priority=4)
    urgent = replace(ask, messages=(Message("user", "an urgent one " * 12),), priority=-1)
    roomy = make_engine(positions=8192)
    alone = [roomy.generate(request) for request in (ask, urgent)]
    engine = make_engine(positions=512, max_context=400)
    late = engine.stream(ask)
    tokens = [next(late).token for _ in range(3)]
    first = engine.generate(urgent)
    tokens += [delta.token for delta in late]
    assert (first.tokens, first.logprobs) == (alone[1].tokens, alone[1].logprobs)
    assert tuple(tokens) == alone[0].tokens
    assert engine.blocks.available == engine.blocks.count


@pytest.mark.parametrize("priority", [1001, -5000, 0.5, True, "high"])
def test_a_priority_that_is_none_is_refused(tiny_engine: Engine, priority: object) -> None:
    with pytest.raises(RequestError, match="priority"):
        tiny_engine.stream(Request((Message("user", "Hi"),), priority=priority))  # type: ignore[arg-type]
