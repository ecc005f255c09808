from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from genwerk.core.errors import RequestError
from genwerk.core.types import Sampling
from genwerk.inference.limits import check_sampling

REFUSED: list[tuple[str, Any]] = [
    *(("temperature", value) for value in (-0.1, 2.1, math.nan, math.inf, "hot", None, True)),
    *(("top_k", value) for value in (-1, 1.5, True)),
    *(("top_p", value) for value in (0.0, -0.5, 1.01, math.nan)),
    *(("min_p", value) for value in (-0.1, 1.1)),
    *(("repetition_penalty", value) for value in (0.0, -1.0, math.inf)),
    *(("presence_penalty", value) for value in (-2.1, 2.1)),
    *(("frequency_penalty", value) for value in (-2.1, 2.1, math.nan)),
    *(("max_tokens", value) for value in (0, -1, 1.0)),
    *(("seed", value) for value in (2**64, 0.5)),
    *(("logprobs", value) for value in (-1, 21, True)),
    *(("typical_p", value) for value in (0.0, 1.1)),
    *(("min_tokens", value) for value in (-1, 0.5)),
    *(("logit_bias", value) for value in (((1000, 1.0),), ((-1, 1.0),), ((1, 101.0),), ((1, "much"),))),
    *(("stop_tokens", value) for value in ((1000,), (-1,), ("a",))),
    *(("bad_words", value) for value in (("",), ("x",) * 257, ("x" * 1001,), "abc", (1,), ("\ud800",), ("a\ufffd",))),
    *(("stop", value) for value in (("",), ("x",) * 17, ("x" * 1001,), "abc", (1,))),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        check_sampling(replace(Sampling(), **{name: value}), 1000)
    assert caught.value.param == name
    assert caught.value.status == 400
    assert name in str(caught.value) or "stop string" in str(caught.value) or "banned word" in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=2, top_k=10**6, top_p=1, min_p=1, logprobs=20),
        Sampling(temperature=1e-300, top_p=1e-9, repetition_penalty=0.1, seed=-(2**63)),
        Sampling(presence_penalty=-2, frequency_penalty=2, stop=("x" * 1000,) * 16, seed=2**64 - 1),
    ],
)
def test_the_ends_of_each_range_are_allowed(sampling: Sampling) -> None:
    check_sampling(sampling, 1000)


def test_more_alternatives_than_tokens_are_refused() -> None:
    with pytest.raises(RequestError, match="vocabulary has 5 tokens"):
        check_sampling(Sampling(logprobs=6), 5)
