"""Prompt log-probabilities: those of a full forward, the same bits whatever else is served or cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from genwerk.core.errors import RequestError
from genwerk.core.types import Message, Request, Sampling
from genwerk.inference.engine import Engine
from genwerk.inference.sampler import TokenLogprob
from genwerk.models.decoder import Decoder

TEXT = "a prompt that is longer than one block of the cache, " * 6


def ask(text: str = TEXT, **sampling: Any) -> Request:
    return Request((Message("user", text),), Sampling(**{"max_tokens": 8, "prompt_logprobs": 3} | sampling))


def test_they_are_those_of_a_full_forward(tiny_engine: Engine, tiny_model: Decoder) -> None:
    request = ask()
    ids = tiny_engine.tokenizer.encode_chat(request.messages)
    with torch.no_grad():
        expected = tiny_model(torch.tensor([ids]))[0].log_softmax(1)  # (T, V)
    first, *found = tiny_engine.generate(request).prompt_logprobs
    assert first is None
    assert [one.token for one in found if one] == ids[1:]
    for place, one in enumerate(found):
        assert one is not None
        assert one.logprob == pytest.approx(float(expected[place, ids[place + 1]]), abs=2e-4)
        values, tokens = expected[place].topk(3)
        assert [other.token for other in one.top] == tokens.tolist()
        assert [other.logprob for other in one.top] == pytest.approx(values.tolist(), abs=2e-4)


@pytest.mark.parametrize("size", [0, 1, 31, 200, 300])
def test_cuts_neighbours_and_cached_beginnings_change_no_bit(make_engine: Callable[..., Engine], size: int) -> None:
    request = ask("x" * size, temperature=1.0, logprobs=2)
    cold = make_engine(share_prefixes=False).generate(request)
    assert len(cold.prompt_logprobs) == cold.usage.prompt_tokens
    engine = make_engine(max_rows=64)
    for other in ("x" * 300, "x" * size):
        engine.generate(ask(other, prompt_logprobs=None))
    beside = engine.stream(ask(TEXT, temperature=1.0, prompt_logprobs=None, max_tokens=100))
    next(beside)
    told = engine.generate(request)
    assert (told.prompt_logprobs, told.tokens, told.logprobs) == (cold.prompt_logprobs, cold.tokens, cold.logprobs)
    beside.close()
    engine.blocks.check()


def test_a_prompt_that_gave_its_blocks_back_halfway_is_scored_once(make_engine: Callable[..., Engine]) -> None:
    request = ask("y" * 700, max_tokens=100)
    expected = make_engine(positions=8192).generate(request)
    tight = make_engine(positions=1024, max_rows=3)
    gone: list[int] = []
    preempt = tight.scheduler._preempt
    tight.scheduler._preempt = lambda one: (gone.append(one.scores.seen), preempt(one))  # type: ignore[method-assign]
    older = tight.stream(Request((Message("user", "z" * 100),), Sampling(max_tokens=600, min_tokens=600)))
    next(older)
    told: list[tuple[TokenLogprob | None, ...]] = []
    stream = tight.stream(request)
    for _ in range(590):
        next(older)
        if (delta := next(stream, None)) is not None and delta.prompt_logprobs:
            told.append(delta.prompt_logprobs)
    assert told == [expected.prompt_logprobs]
    assert gone
    assert 0 < gone[0] < len(expected.prompt_logprobs) or tight.runner.aligned > 1
    older.close(), stream.close()
    tight.blocks.check()


def test_nobody_gets_what_nobody_asked_for(tiny_engine: Engine) -> None:
    assert tiny_engine.generate(ask(prompt_logprobs=None)).prompt_logprobs == ()
    assert all(one is None or not one.top for one in tiny_engine.generate(ask(prompt_logprobs=0)).prompt_logprobs)
    with pytest.raises(RequestError, match="prompt_logprobs is 21") as caught:
        tiny_engine.stream(ask(prompt_logprobs=21))
    assert caught.value.param == "prompt_logprobs"
