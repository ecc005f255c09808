"""Texts of many callers: all are computed once, together, fairly, and never while the engine computes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genwerk.core.types import Message, Request, Sampling
from genwerk.inference.encoding import EncodedText, Encoding
from genwerk.inference.engine import Engine


class Recorder:
    """Gives a text the sum of its tokens and its length, and keeps what came together."""

    def __init__(self) -> None:
        self.batches: list[list[EncodedText]] = []

    def __call__(self, texts: Sequence[EncodedText]) -> Tensor:
        self.batches.append(list(texts))
        return torch.tensor([[sum(text.tokens), len(text.tokens)] for text in texts])


class Door:
    """A turn that one has to wait for, so that callers come together."""

    def __init__(self) -> None:
        self.open = threading.Event()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        assert self.open.wait(30)
        yield


def texts(*lengths: int) -> list[EncodedText]:
    return [EncodedText([place + 1] * length) for place, length in enumerate(lengths)]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 64), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_text_is_computed_once_in_steps_of_bounded_size(lengths: list[int], most: int, steady: bool) -> None:
    recorder = Recorder()
    rows = Encoding(recorder, steady=steady, max_rows=most).run(texts(*lengths))
    assert rows.tolist() == [[(place + 1) * length, length] for place, length in enumerate(lengths)]
    assert sum(map(len, recorder.batches)) == len(lengths)
    for batch in recorder.batches:
        sizes = [len(text.tokens) for text in batch]
        assert sizes == sorted(sizes, reverse=True)
        assert sum(sizes) <= most or len(batch) == 1
        assert steady or len(batch) == 1


def together(encoding: Encoding, calls: Sequence[tuple[str, list[EncodedText]]], door: Door) -> list[Tensor]:
    """What each caller gets who came before the door was opened."""
    with ThreadPoolExecutor(len(calls)) as pool:
        found = []
        for number, (user, asked) in enumerate(calls, start=1):
            found.append(pool.submit(encoding.run, asked, user))
            while len(encoding._calls) < number:
                os.sched_yield()
        door.open.set()
        return [one.result(30) for one in found]


def test_who_comes_at_once_shares_a_step() -> None:
    recorder, door = Recorder(), Door()
    encoding = Encoding(recorder)
    encoding.share(door)
    rows = together(encoding, [(f"user {n}", texts(n, 5)) for n in range(1, 9)], door)
    assert len(recorder.batches) == 1 and len(recorder.batches[0]) == 16
    assert [row.tolist() for row in rows] == [[[n, n], [10, 5]] for n in range(1, 9)]


def test_who_asks_for_little_does_not_wait_for_who_asks_for_much() -> None:
    recorder, door = Recorder(), Door()
    encoding = Encoding(recorder, max_rows=20)
    encoding.share(door)
    together(encoding, [("much", texts(*[10] * 30)), ("little", texts(7))], door)
    steps = [number for number, batch in enumerate(recorder.batches) if any(len(text.tokens) == 7 for text in batch)]
    assert steps == [0] and len(recorder.batches) == 16


def test_an_error_reaches_those_of_its_step_and_nobody_else() -> None:
    door, recorder = Door(), Recorder()

    def compute(batch: Sequence[EncodedText]) -> Tensor:
        if any(13 in text.tokens for text in batch):
            raise ValueError("unlucky")
        return recorder(batch)

    encoding = Encoding(compute, max_rows=4)
    encoding.share(door)
    with ThreadPoolExecutor(2) as pool:
        bad = pool.submit(encoding.run, [EncodedText([13] * 4)], "a")
        good = pool.submit(encoding.run, texts(4, 4), "b")
        door.open.set()
        with pytest.raises(ValueError, match="unlucky"):
            bad.result(30)
        assert good.result(30).tolist() == [[4, 4], [8, 4]]
    assert encoding._calls == []
    assert encoding.run(texts(2)).tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("broken", "said"),
    [("interrupted", ["KeyboardInterrupt", [[3, 3], [10, 5]]]), ("a row too few", ["ValueError", "ValueError"])],
)
def test_nobody_waits_for_a_step_that_came_to_nothing(broken: str, said: list[object]) -> None:
    recorder, door = Recorder(), Door()

    def compute(batch: Sequence[EncodedText]) -> Tensor:
        rows, first = recorder(batch), len(recorder.batches) == 1
        if first and broken == "interrupted":
            raise KeyboardInterrupt
        return rows[1:] if first else rows

    encoding = Encoding(compute, few=0)
    encoding.share(door)
    ended = list[object]()

    def ask(user: str) -> None:
        try:
            ended.append(encoding.run(texts(3, 5), user).tolist())
        except BaseException as error:
            ended.append(type(error).__name__)

    callers = [threading.Thread(target=ask, args=(user,), daemon=True) for user in "ab"]
    for number, caller in enumerate(callers, start=1):
        caller.start()
        while len(encoding._calls) < number:
            os.sched_yield()
    door.open.set()
    for caller in callers:
        caller.join(10)
    assert ended == said
    assert len(recorder.batches) == (2 if broken == "interrupted" else 1)
    assert encoding._calls == []
    assert encoding.run(texts(2)).tolist() == [[2, 2]]


def test_encoding_and_generating_take_turns(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    alone = engine.generate(Request((Message("user", "hello"),), Sampling(max_tokens=24))).tokens
    computing, order = threading.Lock(), []
    step = engine.runner.step

    def watched(kind: str, run: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def once(*given: object) -> Tensor:
            assert computing.acquire(blocking=False), "two compute at a time"
            order.append(kind)
            try:
                return run(*given)
            finally:
                computing.release()

        return once

    engine.runner.step = watched("step", step)  # type: ignore[method-assign]
    encoding = Encoding(watched("text", Recorder()), max_rows=1)
    encoding.share(engine.between_steps)
    with ThreadPoolExecutor(4) as pool:
        encoded = [pool.submit(encoding.run, texts(*[1] * 20), user) for user in "ab"]
        said = [pool.submit(engine.generate, Request((Message("user", "hello"),), Sampling(max_tokens=24)))
                for _ in range(2)]  # fmt: skip
        assert [one.result(60).tokens for one in said] == [alone, alone]
        assert all(len(one.result(60)) == 20 for one in encoded)
    assert order.count("text") == 40
    assert engine._guests == engine._onlookers == 0
