"""Beam search: the tokens transformers finds, in company and in little room, and everything else that is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from genwerk.core.errors import RequestError
from genwerk.core.types import Constraint, Message, Request, Sampling, Several
from genwerk.inference.engine import Engine
from genwerk.inference.several import generate_several
from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import save_decoder
from genwerk.tokenizers.tokenizer import Tokenizer


def ask(text: str = "Hello", constraint: Constraint | None = None, **sampling: Any) -> Request:
    settings = Sampling(**{"max_tokens": 12, "beams": 4} | sampling)
    return Request((Message("user", text),), settings, constraint=constraint)


@pytest.fixture
def soft_model(tiny_model: Decoder) -> Decoder:
    """`tiny_model` with flatter distributions, so that the likeliest answer is not made of the likeliest tokens."""
    with torch.no_grad():
        tiny_model.embed_tokens.mul_(0.3)  # the head too: they are tied
    return tiny_model


@pytest.mark.parametrize("beams", [2, 3, 5])
@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0, 3.0])
def test_it_finds_what_transformers_finds(
    soft_model: Decoder,
    make_engine: Callable[..., Engine],
    byte_tokenizer: Tokenizer,
    tmp_path: Path,
    beams: int,
    length_penalty: float,
) -> None:
    save_decoder(soft_model, tmp_path / "model", Path(byte_tokenizer._where))
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    engine, ends = make_engine(), [257, *range(0, 250, 12)]
    found = 0
    for text in ("Hello", "x" * 70, "What does zip do?"):
        request = ask(text, beams=beams, length_penalty=length_penalty, stop_tokens=tuple(ends[1:]))
        prompt = engine.tokenizer.encode_chat(request.messages)
        with torch.no_grad():
            expected = reference.generate(
                torch.tensor([prompt]), num_beams=beams, max_new_tokens=12, length_penalty=length_penalty,
                do_sample=False, eos_token_id=ends, pad_token_id=1,
            )[0, len(prompt) :].tolist()  # fmt: skip
        generation = engine.generate(request)
        assert list(generation.tokens) == expected
        found += generation.finish_reason == "stop"
    assert engine.blocks.available == engine.blocks.count
    assert found or length_penalty > 0, "nothing ended early, so nothing was shown about ends"


def test_one_beam_more_is_likelier_than_greedy(soft_model: Decoder, make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    sums = []
    for beams in (1, 8):
        generation = engine.generate(ask(beams=beams, logprobs=2, length_penalty=0.0, max_tokens=8))
        sums.append(sum(one.logprob for one in generation.logprobs))
        assert [one.token for one in generation.logprobs] == list(generation.tokens)
        assert all(len(one.top) == 2 for one in generation.logprobs)
    assert sums[1] > sums[0]


def test_company_and_little_room_change_no_bit(make_engine: Callable[..., Engine]) -> None:
    request = ask("x" * 300, logprobs=1, prompt_logprobs=0, max_tokens=40)
    expected = make_engine(share_prefixes=False).generate(request)
    engine = make_engine(positions=1024)
    beside = engine.stream(Request((Message("user", "other"),), Sampling(max_tokens=600, temperature=1.0)))
    next(beside)
    assert engine.generate(request) == expected
    assert len(expected.prompt_logprobs) == expected.usage.prompt_tokens
    beside.close()
    engine.blocks.check()


def test_forms_and_bans_hold_in_every_beam(tiny_engine: Engine) -> None:
    form = Constraint("regex", "age: [0-9]{2}")
    free = tiny_engine.generate(ask(constraint=form, max_tokens=60)).text
    told = tiny_engine.generate(ask(constraint=form, max_tokens=60, bad_words=(free[-1],))).text
    assert re.fullmatch(form.value, free) and re.fullmatch(form.value, told)
    assert free[-1] not in told
    told = tiny_engine.generate(ask(constraint=Constraint("choice", '["yes", "no"]'), max_tokens=60))
    assert (told.text, told.finish_reason) in (("yes", "stop"), ("no", "stop"))


def test_a_receipt_brings_the_search_back(tiny_engine: Engine) -> None:
    request = ask(length_penalty=0.5)
    first = tiny_engine.generate(request)
    assert tiny_engine.replay(first.receipt, request.messages) == first


def test_closing_a_search_ends_its_work(tiny_engine: Engine) -> None:
    stream = tiny_engine.stream(ask(max_tokens=200))
    assert next(stream).token is None
    stream.close()
    assert tiny_engine.blocks.available == tiny_engine.blocks.count
    assert not [*tiny_engine.scheduler.running, *tiny_engine.scheduler.waiting]


def test_what_would_change_its_ratings_is_refused_by_name(tiny_engine: Engine) -> None:
    for name, value in (("temperature", 0.5), ("repetition_penalty", 1.1), ("logit_bias", ((3, 1.0),)), ("beams", 17)):
        with pytest.raises(RequestError) as caught:
            tiny_engine.stream(ask(**{name: value}))
        assert caught.value.param == name
    with pytest.raises(RequestError, match="one answer") as caught:
        generate_several(tiny_engine, ask(), Several(2))
    assert caught.value.param == "beams"
