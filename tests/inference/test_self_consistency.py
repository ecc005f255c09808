"""Self-consistency: one way of writing for equal answers, and the majority of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import pytest

from genwerk.core.errors import RequestError
from genwerk.core.types import Message, Request, Sampling, Several, Usage
from genwerk.inference.engine import Engine
from genwerk.inference.generation import Delta
from genwerk.inference.self_consistency import Vote, final_answer, majority
from genwerk.inference.several import Answers, generate_several, seed_of

REQUEST = Request((Message("user", "How many?"),), Sampling(temperature=1.0, seed=5, max_tokens=30))


@pytest.mark.parametrize(
    ("texts", "final"),
    [
        (("The answer is 18.", "3 + 15 = 18", "So it is\n#### 18", r"\boxed{18}", "Answer: **18 men**", "18.0"), "18"),
        (("It costs 1,250 euros.", "Antwort: 1250", "Das Ergebnis lautet 1250.00"), "1250"),
        (("The answer is -3", "= \u22123", "-3.0"), "-3"),
        (("0,5", "The result is 0.50"), "0.5"),
        (("The answer is: The Amber Room.", "We think so.\nAmber  room", r"so \boxed{amber room}"), "amber room"),
        ((r"$\boxed{\frac{1}{2}}$", r"\boxed{ \frac{1}{2} }"), r"\frac{1}{2}"),
        (('{"b": 1, "a": [2]}', '{"a":[2],"b":1}'), '{"a": [2], "b": 1}'),
        (("", "  \n"), ""),
    ],
)  # fmt: skip
def test_equal_answers_have_one_writing(texts: tuple[str, ...], final: str) -> None:
    assert [final_answer(text) for text in texts] == [final] * len(texts)


@pytest.mark.parametrize("text", ["{broken", r"\boxed{never closed", "####", "answer is", "1.2.3", "\\", "[1," * 5000])
def test_any_text_has_a_final_answer(text: str) -> None:
    assert final_answer(final_answer(text)) is not None


def test_the_first_of_the_most_is_given() -> None:
    assert majority(["It is 4", "It is 5", "so 5", "four", "5.0", "4"]) == Vote(1, 0.5)
    assert majority(["4", "5"]) == Vote(0, 0.5)
    assert majority(["", "", "7"]) == Vote(2, 1 / 3)
    assert majority(["", ""]) == Vote(0, 1.0)
    assert majority(["aX", "bY", "cY"], final=lambda text: text[-1]).index == 1
    assert majority(["a", "b", "c"], judge=lambda answers: answers.index("c")) == Vote(2, 1 / 3)


def speaker(texts: list[str], opened: list[int]) -> Callable[[Request], Generator[Delta, None, None]]:
    """Answers that are told beforehand, by the order of their seeds."""

    def stream(request: Request) -> Generator[Delta, None, None]:
        index = next(index for index in range(len(texts)) if seed_of(5, index) == request.sampling.seed)
        opened.append(index)
        yield Delta("", 1, thinking="I think 9")
        yield Delta(texts[index], 2, finish_reason="stop", usage=Usage(1, 2))

    return stream


def test_the_answer_that_is_given_says_how_many_agree() -> None:
    opened: list[int] = []
    stream = speaker(["It is 4", "It is 5", "so 5", "9"], opened)
    with closing(Answers(stream, REQUEST, Several(best_of=4, pick="majority"))) as answers:
        answer = answers.open(0)
        assert "".join(delta.text for delta in answer.deltas) == "It is 5"
    assert (answer.support, answer.request.sampling.seed) == (0.5, seed_of(5, 1))
    assert sorted(opened) == [0, 1, 2, 3]
    judged = Answers(speaker(["a", "b"], []), REQUEST, Several(best_of=2, pick="majority"), lambda answers: 1)
    assert "".join(delta.text for delta in judged.open(0).deltas) == "b"


def test_a_receipt_brings_the_chosen_answer_back(tiny_engine: Engine) -> None:
    (told,) = generate_several(tiny_engine, REQUEST, Several(best_of=5, pick="majority"))
    assert tiny_engine.replay(told.receipt, REQUEST.messages) == told
    texts = [one.text for one in generate_several(tiny_engine, REQUEST, Several(5))]
    assert told.text == texts[majority(texts).index]


@pytest.mark.parametrize(
    ("several", "change", "param"),
    [
        (Several(2, 4, "majority"), {}, "n"),
        (Several(1, 4, "majority"), {"temperature": 0.0}, "temperature"),
        (Several(1, 65, "majority"), {}, "best_of"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny_engine: Engine, several: Several, change: Any, param: str) -> None:
    request = Request(REQUEST.messages, Sampling(**{"temperature": 1.0} | change))
    with pytest.raises(RequestError) as caught:
        generate_several(tiny_engine, request, several)
    assert caught.value.param == param
