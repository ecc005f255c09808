"""Memory is given back when an answer has ended and no other is in progress, and nobody waits for it."""

from __future__ import annotations

import threading

import pytest

from genwerk.core.types import Message, Request, Sampling
from genwerk.inference import upkeep
from genwerk.inference.engine import Engine


def ask(tokens: int, **sampling: object) -> Request:
    return Request((Message("user", "Hello"),), Sampling(max_tokens=tokens, **sampling))  # type: ignore[arg-type]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was given back, one after the other; an engine does so after ten steps."""
    done: list[str] = []
    monkeypatch.setattr(upkeep, "_RESTS", 10)
    monkeypatch.setattr(upkeep, "forget_libraries", lambda: done.append("libraries"))
    monkeypatch.setattr(upkeep, "trim_heap", lambda: done.append("heap"))
    return done


@pytest.fixture
def engine(scripted) -> Engine:  # type: ignore[no-untyped-def]
    made: Engine = scripted("any text " * 40)
    return made


def test_the_last_token_does_not_wait_for_it(engine: Engine, given: list[str]) -> None:
    stream = engine.stream(ask(16))
    tokens = [next(stream) for _ in range(16)]
    assert tokens[-1].finish_reason == "length" and not given
    assert next(stream, None) is None
    assert given == ["libraries", "heap"]


def test_libraries_are_forgotten_once_and_the_heap_trimmed_every_so_many_steps(
    engine: Engine, given: list[str]
) -> None:
    engine.generate(ask(6))
    assert not given
    engine.generate(ask(6))
    assert given == ["libraries", "heap"]
    for _ in range(4):
        engine.generate(ask(6))
    assert given == ["libraries", "heap", "heap", "heap"]


def test_nothing_is_given_back_while_an_answer_is_in_progress(engine: Engine, given: list[str]) -> None:
    other = engine.stream(ask(60))
    next(other)
    engine.generate(ask(20))
    assert not given
    list(other)
    assert given == ["libraries", "heap"]


def test_an_answer_that_is_broken_off_is_an_end_too(engine: Engine, given: list[str]) -> None:
    stream = engine.stream(ask(60))
    for _ in range(20):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert given == ["libraries", "heap"]


def test_beams_are_one_answer(tiny_engine: Engine, given: list[str]) -> None:
    tiny_engine.generate(ask(24, beams=3))
    assert given == ["libraries", "heap"]


def test_others_are_answered_meanwhile(engine: Engine, given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def trim() -> None:
        other = threading.Thread(target=lambda: given.append(engine.generate(ask(2)).text))
        other.start()
        other.join(30)

    monkeypatch.setattr(upkeep, "trim_heap", trim)
    engine.generate(ask(16))
    assert given == ["libraries", "an"]
