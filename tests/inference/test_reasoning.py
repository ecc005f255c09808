"""Thinking sections: told apart however the text is cut, ended by their budget, followed by the form that was asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.errors import RequestError
from genwerk.core.types import Constraint, Message, Request, Sampling
from genwerk.inference.engine import Engine
from genwerk.inference.reasoning import KNOWN, Markers, Section, SectionParser, find_markers
from genwerk.tokenizers.tokenizer import Tokenizer

THINK = Markers()
FORM = Constraint("json_schema", json.dumps({"type": "object", "properties": {"ok": {"type": "boolean"}},
                                             "required": ["ok"], "additionalProperties": False}))  # fmt: skip
PIECES = st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "think", ">", " ", "\n", "a", "bc"]), max_size=8)


def ask(constraint: Constraint | None = None, **sampling: Any) -> Request:
    settings = Sampling(**{"max_tokens": 200} | sampling)
    return Request((Message("user", "Hello"),), settings, constraint=constraint)


def parsed(section: Section, pieces: list[str]) -> tuple[str, str]:
    parser = SectionParser(section)
    parts = [*map(parser.push, pieces), parser.flush()]
    return "".join(part.thinking for part in parts), "".join(part.answer for part in parts)


def expected(text: str, *, opened: bool) -> tuple[str, str]:
    """The same said in one breath."""
    if not opened:
        begun = text.lstrip()
        if not begun.startswith(THINK.start):
            return "", text
        text = begun.removeprefix(THINK.start)
    thinking, _, answer = text.partition(THINK.end)
    return thinking.lstrip(), answer.lstrip()


@given(PIECES, st.booleans(), st.data())
def test_what_comes_out_does_not_depend_on_the_cut(pieces: list[str], opened: bool, data: st.DataObject) -> None:
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    cut = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    section = Section(THINK, opened)
    assert parsed(section, cut) == parsed(section, [text]) == parsed(section, list(text))
    assert parsed(section, cut) == expected(text, opened=opened)


def test_markers_come_from_the_template() -> None:
    assert find_markers(None) is None
    assert find_markers("{{ messages }}") is None
    assert find_markers("{% if '</think>' in content %}") == THINK
    for markers in KNOWN:
        assert find_markers(f"... {markers.end} ...") == markers


def test_a_prompt_may_leave_the_section_open(byte_tokenizer: Tokenizer) -> None:
    for text, opened in (("Hello<think>\n", True), ("<think>Hello", False), ("<think>\n\n</think>\n\n", False)):
        assert Section.after(byte_tokenizer.encode(text), THINK, byte_tokenizer).open is opened


@pytest.fixture
def thinker(scripted: Callable[..., Engine]) -> Callable[..., Engine]:
    """An engine that says what it is told, of a model that thinks."""

    def make(text: str, **options: Any) -> Engine:
        engine = scripted(text, **options)
        engine.markers = THINK
        return engine

    return make


def test_thinking_and_answer_stream_apart(thinker: Callable[..., Engine]) -> None:
    engine = thinker("<think>\nHmm, </b> 2 + 2?\n</think>\n\nIt is 4. <think>")
    deltas = list(engine.stream(ask()))
    whole = engine.generate(ask())
    assert "".join(delta.thinking for delta in deltas) == whole.thinking == "Hmm, </b> 2 + 2?\n"
    assert "".join(delta.text for delta in deltas) == whole.text == "It is 4. <think>"
    assert not any(delta.thinking and delta.text for delta in deltas)
    assert whole.usage.completion_tokens == len(whole.tokens) == len(deltas)


def test_a_model_without_sections_keeps_its_text(scripted: Callable[..., Engine]) -> None:
    told = scripted("<think>a</think>b").generate(ask())
    assert (told.text, told.thinking) == ("<think>a</think>b", "")


def test_stop_strings_and_raw_text_are_left_to_the_answer(thinker: Callable[..., Engine]) -> None:
    engine = thinker("<think>first: x</think>second: y")
    told = engine.generate(ask(stop=(":",)))
    assert (told.thinking, told.text) == ("first: x", "second")
    assert engine.complete("Hello", Sampling(max_tokens=50)).text == "<think>first: x</think>second: y"


def test_an_answer_that_ends_in_thought_has_no_text(thinker: Callable[..., Engine]) -> None:
    told = thinker("<think>what if </th").generate(ask())
    assert (told.thinking, told.text, told.finish_reason) == ("what if </th", "", "stop")


@pytest.mark.parametrize("budget", [0, 1, 5, 40])
def test_a_budget_ends_the_section(make_engine: Callable[..., Engine], budget: int) -> None:
    engine = make_engine(markers=THINK)
    prompt = engine.tokenizer.encode("Hello<think>")
    section = Section.after(prompt, THINK, engine.tokenizer)
    sampling = Sampling(max_tokens=80, min_tokens=80, temperature=1.0, thinking_budget=budget)
    deltas = list(engine.stream_ids(prompt, sampling, section=section))
    text = engine.tokenizer.decode([delta.token for delta in deltas if delta.token is not None], skip_special=False)
    assert THINK.end in text
    said = [delta.token for delta in deltas]
    ends = engine.tokenizer.encode(THINK.end)
    assert said[budget : budget + len(ends)] == ends
    answer = engine.tokenizer.decode([token for token in said[budget + len(ends) :] if token is not None])
    assert "".join(delta.text for delta in deltas) == answer.lstrip()


def test_a_marker_half_said_is_only_completed(thinker: Callable[..., Engine]) -> None:
    engine = thinker("<think>abc</thiX the rest is never said, for the marker is completed")
    told = engine.generate(ask(thinking_budget=len("abc</thi")))
    assert told.thinking == "abc"
    assert engine.tokenizer.decode(told.tokens).startswith("<think>abc</think>")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("budget", [None, 0, 9])
def test_a_form_begins_after_the_section(make_engine: Callable[..., Engine], seed: int, budget: int | None) -> None:
    engine = make_engine(markers=THINK)
    prompt = engine.tokenizer.encode("Hello<think>")
    section = Section.after(prompt, THINK, engine.tokenizer)
    limit = 40 if budget is None else 200
    sampling = Sampling(max_tokens=limit, temperature=1.0, seed=seed, thinking_budget=budget, logit_bias=((257, 50.0),))
    deltas = list(engine.stream_ids(prompt, sampling, constraint=FORM, section=section))
    text = "".join(delta.text for delta in deltas)
    if budget is None and not text:  # random weights do not end a section
        assert deltas[-1].finish_reason == "length"
        return
    assert isinstance(json.loads(text)["ok"], bool)
    assert deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_with_a_form_may_begin_with_thinking_or_without(
    make_engine: Callable[..., Engine], byte_tokenizer: Tokenizer, seed: int
) -> None:
    engine = make_engine(markers=THINK)
    first = byte_tokenizer.encode(THINK.start)[0]
    for bias, thinks in ((-100.0, False), (100.0, True)):
        request = ask(FORM, temperature=1.0, seed=seed, thinking_budget=6, logit_bias=((first, bias),))
        told = engine.generate(request)
        assert byte_tokenizer.decode(told.tokens).startswith(THINK.start) is thinks
        assert isinstance(json.loads(told.text)["ok"], bool)
        assert engine.replay(told.receipt, request.messages) == told


def test_speculation_and_company_change_no_token(make_engine: Callable[..., Engine]) -> None:
    request = ask(FORM, temperature=1.0, seed=3, thinking_budget=30, logprobs=1)
    plain = make_engine(markers=THINK, speculate=False).generate(request)
    engine = make_engine(markers=THINK)
    streams = [engine.stream(request) for _ in range(3)]
    steps = list(zip(*streams, strict=True))
    assert all(tuple(delta.token for delta in column) == plain.tokens for column in zip(*steps, strict=True))


def test_beams_think_within_their_budget(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(markers=THINK)
    prompt = engine.tokenizer.encode("Hello<think>")
    section = Section.after(prompt, THINK, engine.tokenizer)
    sampling = Sampling(max_tokens=120, beams=3, thinking_budget=4)
    form = Constraint("regex", "(yes|no), [a-z]{3}")
    told = "".join(delta.text for delta in engine.stream_ids(prompt, sampling, constraint=form, section=section))
    assert re.fullmatch(form.value, told)


def test_a_budget_without_a_section_is_refused(tiny_engine: Engine) -> None:
    with pytest.raises(RequestError, match="no thinking section") as caught:
        tiny_engine.stream(ask(thinking_budget=5))
    assert caught.value.param == "thinking_budget"
    with pytest.raises(RequestError):
        tiny_engine.stream(ask(thinking_budget=-1))
