"""Invariant: several prompts share the engine's steps, and nothing of them goes on when their reader leaves."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from genwerk.core.types import Reply, Sampling
from genwerk.inference.engine import Engine
from genwerk.serving.assistant import Assistant, Finished, Started
from genwerk.serving.choices import ChoiceEvent
from genwerk.serving.completion_request import CompletionCall, answer_prompts, parse_completion
from genwerk.serving.side_by_side import read_together
from genwerk.serving.streaming import AHEAD

PROMPTS = ["The with statement", "An import", "A loop", "Names"]


def call_of(assistant: Assistant, **change: Any) -> CompletionCall:
    asked = {"model": "handbook-base", "prompt": PROMPTS, "max_tokens": 12, "min_tokens": 12, "temperature": 1.0,
             "seed": 5}  # fmt: skip
    return parse_completion(asked | change, assistant.deployment)


@contextmanager
def held(engine: Engine, sequences: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Counts steps by the slices in each; the first is not taken before so many `sequences` wait."""
    came, steps = threading.Semaphore(0), list[int]()
    add, step = engine.scheduler.add, engine.runner.step

    def counted(chunks: Any) -> Any:
        steps.append(len(chunks))
        return step(chunks)

    monkeypatch.setattr(engine.runner, "step", counted)
    monkeypatch.setattr(engine.scheduler, "add", lambda sequence: (add(sequence), came.release()))
    with engine.between_steps():
        yield steps
        for _ in range(sequences):
            assert came.acquire(timeout=30), f"only {len(engine.scheduler.waiting)} of {sequences} wait"


def replies_of(events: Iterable[ChoiceEvent]) -> list[Reply]:
    found = {item.index: item.event.reply for item in events if isinstance(item.event, Finished)}
    return [reply for _, reply in sorted(found.items())]


def test_prompts_share_the_steps_of_the_engine(assistant: Assistant, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, call, stop = assistant.deployment.engine, call_of(assistant), threading.Event()
    assert isinstance(engine, Engine)
    alone = [replies_of(answer_prompts(assistant, call_of(assistant, prompt=one), stop)) for one in PROMPTS]
    with ThreadPoolExecutor(1) as pool:
        with held(engine, len(PROMPTS), monkeypatch) as steps:
            found = pool.submit(lambda: list(answer_prompts(assistant, call, stop)))
        events = found.result(60)
    assert steps == [len(PROMPTS)] * len(steps) and len(steps) <= 12, "each step is for all"
    assert [[reply.tokens] for reply in replies_of(events)] == [[reply.tokens for reply in one] for one in alone]
    assert [item.index for item in events[: len(PROMPTS)]] == list(range(len(PROMPTS)))
    assert not stop.is_set()


def test_a_reader_that_leaves_ends_the_work_on_every_prompt(
    assistant: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, stop = assistant.deployment.engine, threading.Event()
    assert isinstance(engine, Engine)
    call = call_of(assistant, max_tokens=1500, min_tokens=1500)
    events: Generator[ChoiceEvent, None, None] = answer_prompts(assistant, call, stop)
    with held(engine, len(PROMPTS), monkeypatch) as steps:
        assert [isinstance(next(events).event, Started) for _ in PROMPTS] == [True] * len(PROMPTS)
    events.close()
    assert stop.is_set()
    assert len(steps) < 1500
    assert not engine.scheduler.running and not engine.scheduler.waiting
    assert engine.complete("A loop", Sampling(max_tokens=2)).tokens


class Numbers:
    """Streams that say how far they were run, and whether they were closed."""

    def __init__(self, *lengths: int, fails: int = -1) -> None:
        self.made, self.closed, self.fails = [0] * len(lengths), [False] * len(lengths), fails
        self.streams = [self._stream(place, length) for place, length in enumerate(lengths)]

    def _stream(self, place: int, length: int) -> Generator[int, None, None]:
        try:
            for number in range(length):
                self.made[place] += 1
                yield number
            if place == self.fails:
                raise ValueError("broken")
        finally:
            self.closed[place] = True


def test_items_come_in_turn_until_all_have_ended() -> None:
    numbers, stop = Numbers(3, 0, 1, 2), threading.Event()
    found = list(read_together(numbers.streams, stop))
    assert found == [(0, 0), (2, 0), (3, 0), (0, 1), (3, 1), (0, 2)]
    assert all(numbers.closed) and not stop.is_set()


def test_an_error_ends_the_others_and_is_raised() -> None:
    numbers, stop = Numbers(10**9, 2, 10**9, fails=1), threading.Event()
    with pytest.raises(ValueError, match="broken"):
        list(read_together(numbers.streams, stop))
    assert all(numbers.closed) and stop.is_set()


def test_a_reader_that_pauses_pauses_every_stream() -> None:
    numbers, stop = Numbers(10**9, 10**9), threading.Event()
    turns = read_together(numbers.streams, stop)
    assert [next(turns), next(turns)] == [(0, 0), (1, 0)]
    turns.close()
    assert all(numbers.closed) and stop.is_set()
    assert max(numbers.made) <= AHEAD + 3


def test_streams_end_where_there_is_no_thread_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, stop, start, started = Numbers(10**9, 10**9, 10**9), threading.Event(), threading.Thread.start, []

    def start_two(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    with pytest.raises(RuntimeError, match="new thread"):
        next(read_together(numbers.streams, stop))
    assert stop.is_set() and numbers.closed[:2] == [True, True] and numbers.made[2] == 0
    assert not any(thread.is_alive() for thread in started)
