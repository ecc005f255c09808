"""Invariant under load: no error but the right ones, nothing stuck, no block lost, no growth, the same tokens."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest
from test_adapters import draw_adapter

from genwerk.evaluation.load import LoadConfig, run_load
from genwerk.inference.engine import Engine
from genwerk.inference.logits import Logits
from genwerk.inference.runner import Chunk

__all__ = ["draw_adapter"]

SECONDS = float(os.environ.get("GENWERK_LOAD_SECONDS", "10"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 4 + 300)
def test_mixed_load_leaves_nothing_behind(make_engine: Callable[..., Engine], draw_adapter: Callable[..., str]) -> None:
    engine = make_engine(positions=1152, max_sequences=12)
    preempted, preempt = [], engine.scheduler._preempt
    engine.scheduler._preempt = lambda one: (preempted.append(one.arrival), preempt(one))[1]  # type: ignore
    for seed in range(3):
        engine.add_adapter(f"user{seed}", draw_adapter(seed))  # type: ignore[arg-type]
    report = run_load(engine, LoadConfig(seconds=SECONDS, rate=150, in_flight=40, max_tokens=64, patience=60))
    print("\n".join(report.lines()))
    assert report.sound, report.lines()
    assert report.outcomes["finished"] > 20 and report.outcomes["refused"] and report.outcomes["cancelled"]
    assert preempted, "the cache was never full"
    assert report.grown < 60, report.lines()


def test_a_load_tells_what_went_wrong_and_steps_that_fail_lose_nothing(tiny_engine: Engine) -> None:
    step, count = tiny_engine.runner.step, 0

    def fail_often(chunks: Sequence[Chunk]) -> Logits:
        nonlocal count
        count += 1
        if count % 7 == 0:
            raise MemoryError("full")
        return step(chunks)

    tiny_engine.runner.step = fail_often  # type: ignore[method-assign]
    report = run_load(tiny_engine, LoadConfig(seconds=1, rate=40, invalid=0, cancelled=0.2, repeated=0))
    assert not report.sound and set(report.wrong) == {"MemoryError: full"}
    assert not report.leaked and not report.stuck
    assert any(line.startswith("wrong: MemoryError: full (") for line in report.lines())
