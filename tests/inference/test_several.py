"""Several answers: each is the one its seed gives alone, the prompt is read once, the best come first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from genwerk.core.errors import ModelError, RequestError
from genwerk.core.types import Message, Request, Sampling, Several
from genwerk.inference.engine import Engine, Generation
from genwerk.inference.several import generate_several, seed_of, stream_several


def ask(text: str = "Hello", **sampling: Any) -> Request:
    return Request((Message("user", text),), Sampling(**{"max_tokens": 24, "temperature": 1.0, "seed": 5} | sampling))


def alone(engine: Engine, request: Request, index: int) -> Generation:
    return engine.generate(replace(request, sampling=replace(request.sampling, seed=seed_of(5, index))))


@pytest.mark.parametrize("size", [1, 100, 300])
def test_answer_i_is_the_same_alone_and_among_n(make_engine: Callable[..., Engine], size: int) -> None:
    request = ask("x" * size, logprobs=2, prompt_logprobs=1)
    for n in (1, 5):
        answers = generate_several(make_engine(), request, Several(n))
        assert list(answers) == [alone(make_engine(), request, index) for index in range(n)]
    assert len({answer.tokens for answer in answers}) == 5


def test_the_prompt_is_read_once_and_all_share_their_steps(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    rows: list[int] = []
    step = engine.runner.step
    engine.runner.step = lambda chunks: (rows.append(sum(len(c.tokens) for c in chunks)), step(chunks))[1]  # type: ignore[method-assign]
    request = ask("x" * 600, max_tokens=10, min_tokens=10)
    prompt = engine.count_tokens(request.messages)
    generate_several(engine, request, Several(8))
    rest = prompt % max(32, engine.runner.aligned) or 32
    assert sum(rows) <= prompt + 7 * (rest + 2) + 8 * 10 * 2
    assert len(rows) <= 30
    assert engine.blocks.available == engine.blocks.count


def test_a_stream_names_the_answer_each_step_belongs_to(tiny_engine: Engine) -> None:
    request = ask()
    texts, reasons = ["", "", ""], [[], [], []]  # type: ignore[var-annotated]
    order = []
    for step in stream_several(tiny_engine, request, Several(3)):
        texts[step.index] += step.delta.text
        reasons[step.index] += [step.delta.finish_reason] if step.delta.finish_reason else []
        order.append(step.index)
    whole = generate_several(tiny_engine, request, Several(3))
    assert texts == [answer.text for answer in whole]
    assert reasons == [[answer.finish_reason] for answer in whole]
    assert order[:6] == [0, 1, 2, 0, 1, 2]


def test_best_of_gives_the_likeliest_on_average_and_their_receipts(tiny_engine: Engine) -> None:
    request = ask()
    drawn = [alone(tiny_engine, ask(logprobs=0), index) for index in range(6)]
    means = [sum(one.logprob for one in answer.logprobs) / len(answer.logprobs) for answer in drawn]
    order = sorted(range(6), key=lambda index: -means[index])
    best = generate_several(tiny_engine, request, Several(2, best_of=6))
    assert [answer.tokens for answer in best] == [drawn[index].tokens for index in order[:2]]
    assert all(answer.logprobs == () for answer in best)
    for answer in best:
        assert tiny_engine.replay(answer.receipt, request.messages).tokens == answer.tokens
    asked = generate_several(tiny_engine, ask(logprobs=1), Several(1, best_of=6))
    assert asked[0].logprobs == alone(tiny_engine, ask(logprobs=1), order[0]).logprobs


def test_answers_are_the_same_without_room_for_all(make_engine: Callable[..., Engine]) -> None:
    request = ask("x" * 200, max_tokens=150)
    expected = generate_several(make_engine(positions=8192), request, Several(6))
    engine = make_engine(positions=1024, max_sequences=2)
    assert generate_several(engine, request, Several(6)) == expected
    engine.blocks.check()


def test_closing_halfway_ends_the_work_on_all(tiny_engine: Engine) -> None:
    stream = stream_several(tiny_engine, ask(max_tokens=500), Several(4))
    next(stream)
    stream.close()
    assert tiny_engine.blocks.available == tiny_engine.blocks.count
    assert not tiny_engine.scheduler.running


def test_a_broken_model_breaks_all_and_leaves_nothing_behind(scripted: Callable[..., Engine]) -> None:
    engine = scripted([65, 66, -1])
    with pytest.raises(ModelError, match="not finite"):
        generate_several(engine, ask(), Several(3))
    assert engine.blocks.available == engine.blocks.count


@pytest.mark.parametrize(
    ("several", "param"),
    [
        (Several(0), "n"),
        (Several(65), "n"),
        (Several(True), "n"),
        (Several(3, 2), "best_of"),
        (Several(1, 65), "best_of"),
        (Several(1, 1.5), "best_of"),  # type: ignore[arg-type]
        (Several(pick="beauty"), "pick"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(tiny_engine: Engine, several: Several, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        stream_several(tiny_engine, ask(), several)
    assert (caught.value.param, caught.value.status) == (param, 400)


def test_seeds_are_far_apart_and_stay_what_they_are() -> None:
    seeds = [seed_of(seed, index) for seed in (-1, 0, 1, 2**64 - 1) for index in range(64)]
    assert len(set(seeds)) == len(seeds)
    assert (seed_of(7, 0), seed_of(7, 1)) == (7, 2114375518687650719)
    assert all(0 <= seed_of(seed, 3) < 2**63 for seed in range(100))
