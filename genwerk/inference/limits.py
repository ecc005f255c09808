"""The allowed range of every sampling parameter, in one table, refused by name before any work is done."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from genwerk.core.errors import RequestError
from genwerk.core.types import Sampling

MAX_STOPS = 16
MAX_BANNED = 256
MAX_STOP_CHARS = 1000


class Range(NamedTuple):
    """low and high, both allowed unless `above` is set: then low itself is refused."""

    low: float
    high: float
    whole: bool = False
    above: bool = False

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        start = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        return f"{kind} {start} up to {self.high:g}" if self.high < 2**31 else f"{kind} {start}"

    def holds(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.low <= value <= self.high and not (self.above and value == self.low)


RANGES: Mapping[str, Range] = MappingProxyType(
    {
        "temperature": Range(0, 2),
        "top_k": Range(0, 2**31, whole=True),
        "top_p": Range(0, 1, above=True),
        "min_p": Range(0, 1),
        "typical_p": Range(0, 1, above=True),
        "min_tokens": Range(0, 2**31, whole=True),
        "repetition_penalty": Range(0, 10, above=True),
        "presence_penalty": Range(-2, 2),
        "frequency_penalty": Range(-2, 2),
        "max_tokens": Range(1, 2**31, whole=True),
        "thinking_budget": Range(0, 2**31, whole=True),
        "beams": Range(1, 16, whole=True),
        "length_penalty": Range(-10, 10),
        "seed": Range(-(2**63), 2**64 - 1, whole=True),
        "logprobs": Range(0, 20, whole=True),
        "prompt_logprobs": Range(0, 20, whole=True),
    }
)


OPTIONAL = ("logprobs", "prompt_logprobs", "thinking_budget")
BIAS = Range(-100, 100)
_BROKEN = re.compile("[\ud800-\udfff\ufffd]")  # what is no text: halves of characters, and the sign for such
PRIORITY = Range(-1000, 1000, whole=True)


def check_priority(priority: object) -> None:
    """Raise RequestError for a priority out of range: waiting makes up for every level, so there are not too many."""
    if not PRIORITY.holds(priority):
        what = f"priority is {_shown(priority)}"
        raise RequestError(what, param="priority", code="invalid_value", remedy=f"It must be {PRIORITY}.")


def check_adapter(name: str | None, known: Sequence[str]) -> None:
    """Raise RequestError (404) for an adapter that may not be asked for."""
    if name is not None and name not in known:
        remedy = f"Known adapters: {', '.join(known) or 'none'}."
        what = f"there is no adapter {name!r}"
        raise RequestError(what, param="model", status=404, code="model_not_found", remedy=remedy)


def check_new_adapter(name: str, known: Sequence[str]) -> None:
    """Raise RequestError (409) for a name in use."""
    if name in known:
        what, remedy = f"there is an adapter {name!r} already", "Remove it first, or take another name."
        raise RequestError(what, param="adapter", status=409, code="adapter_exists", remedy=remedy)


def check_sampling(sampling: Sampling, vocab: int) -> None:
    """Raise RequestError naming the first parameter that is out of range.

    vocab  size of the vocabulary; logprobs may not ask for more alternatives than there are tokens.
    """
    for name, allowed in RANGES.items():
        value = getattr(sampling, name)
        if name in OPTIONAL and value is None:
            continue
        if not allowed.holds(value):
            raise RequestError(
                f"{name} is {_shown(value)}", param=name, code="invalid_value", remedy=f"It must be {allowed}."
            )
        if name in ("logprobs", "prompt_logprobs") and value > vocab:
            what = f"{name} asks for {value} alternatives, the vocabulary has {vocab} tokens"
            raise RequestError(what, param=name, code="invalid_value", remedy=f"Ask for at most {vocab}.")
    _check_strings("stop", "stop string", sampling.stop, MAX_STOPS)
    _check_strings("bad_words", "banned word", sampling.bad_words, MAX_BANNED)
    _check_tokens(sampling, vocab)
    _check_beams(sampling)


def _check_beams(sampling: Sampling) -> None:
    """Beams are rated by the model's own log-probabilities: what would change those is refused, not passed over."""
    plain = Sampling()
    for name in ("temperature", "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias"):
        if sampling.beams > 1 and getattr(sampling, name) != getattr(plain, name):
            remedy = "Leave it out, or ask for one beam."
            raise RequestError(f"{name} has no place in beam search", param=name, code="invalid_value", remedy=remedy)


def _check_tokens(sampling: Sampling, vocab: int) -> None:
    named = {"logit_bias": [token for token, _ in sampling.logit_bias], "stop_tokens": list(sampling.stop_tokens)}
    for name, tokens in named.items():
        strange = [token for token in tokens if not isinstance(token, int) or not 0 <= token < vocab]
        if strange:
            remedy = f"Token ids are whole numbers below {vocab}."
            raise RequestError(f"{name} names {strange[0]!r}", param=name, code="invalid_value", remedy=remedy)
    for token, bias in sampling.logit_bias:
        if not BIAS.holds(bias):
            what = f"logit_bias of token {token} is {_shown(bias)}"
            raise RequestError(what, param="logit_bias", code="invalid_value", remedy=f"It must be {BIAS}.")


def _check_strings(name: str, noun: str, strings: object, most: int) -> None:
    if not isinstance(strings, tuple | list) or not all(isinstance(item, str) for item in strings):
        problem = f"{name} is {_shown(strings)}"
    elif "" in strings:
        problem = f"one {noun} is empty"
    elif len(strings) > most:
        problem = f"{len(strings)} {noun}s were given"
    elif any(len(item) > MAX_STOP_CHARS for item in strings):
        problem = f"a {noun} has {max(map(len, strings))} characters"
    elif name == "bad_words" and any(_BROKEN.search(item) for item in strings):
        problem = f"a {noun} holds a sign that stands for broken text"
    else:
        return
    remedy = f"Give up to {most} strings of 1 to {MAX_STOP_CHARS} characters."
    raise RequestError(problem, param=name, code="invalid_value", remedy=remedy)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
