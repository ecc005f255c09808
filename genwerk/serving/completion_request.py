"""Completions in OpenAI's older shape: raw text is continued, without a chat template.

    POST /v1/completions  {"model": "handbook", "prompt": ["Once", "Twice"], "n": 2, "echo": true, "logprobs": 3}

A prompt is a text, a list of texts, token ids or a list of them; choices come prompt by prompt. What chat completions
understand beside OpenAI's own fields is understood here too, but for what needs a chat or documents. `suffix` is not
served: no model here fills in.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

from genwerk.core.errors import RequestError
from genwerk.core.types import Message, Several
from genwerk.inference.limits import check_sampling
from genwerk.inference.prompts import tokens_message
from genwerk.inference.several import MOST
from genwerk.serving.assistant import Ask, Assistant
from genwerk.serving.choices import ChoiceEvent, answer_several
from genwerk.serving.deployment import Deployment
from genwerk.serving.fields import flag, invalid, is_ids, refuse_unserved, text
from genwerk.serving.openai_request import (
    SAMPLING,
    find_model,
    read_constraint,
    read_priority,
    read_sampling,
    read_several,
    reads_usage,
)
from genwerk.serving.side_by_side import read_together

__all__ = ["CompletionCall", "answer_prompts", "parse_completion"]

_USUAL_TOKENS = 16
_KNOWN = frozenset(
    (*SAMPLING, "model", "prompt", "max_tokens", "stop", "logprobs", "stream", "stream_options", "user", "echo", "n",
     "best_of", "logit_bias", "stop_token_ids", "bad_words", "priority", "guided_regex", "guided_choice",
     "guided_grammar", "response_format")
) - {"thinking_budget", "prompt_logprobs"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """A completions request, checked: one `Ask` per prompt, to each of which `several` answers are given."""

    asks: tuple[Ask, ...]
    several: Several
    model: str
    stream: bool
    include_usage: bool
    echo: bool


def parse_completion(body: Mapping[str, Any], deployment: Deployment, groups: tuple[str, ...] = ()) -> CompletionCall:
    """Check a completions request.

    Raises RequestError: 404 for an unknown model, else 400 with the field.
    """
    refuse_unserved(body, _KNOWN)
    model, adapter = find_model(body, deployment)
    stream, echo = flag(body, "stream", False), flag(body, "echo", False)
    shown = body.get("logprobs")
    values = {key: value for key, value in body.items() if key != "logprobs"}
    values["max_tokens"] = _USUAL_TOKENS if body.get("max_tokens") is None else body["max_tokens"]
    sampling = replace(read_sampling(values, False), logprobs=shown, prompt_logprobs=shown if echo else None)
    check_sampling(sampling, deployment.engine.tokenizer.vocab_size)
    if stream and echo and shown is not None:
        raise invalid("echo", "log-probabilities of the prompt come with a whole answer", "Ask without `stream`.")
    priority, constraint = read_priority(body), read_constraint(body, False)
    text(body, "user")
    several, prompts = read_several(body, sampling, False), _prompts(body.get("prompt"))
    if several.drawn * len(prompts) > MOST:
        what = f"{len(prompts)} prompts with {several.drawn} answers each"
        raise invalid("prompt", what, f"Ask for at most {MOST} answers at once.")
    messages = [_message(prompt, deployment) for prompt in prompts]
    asks = tuple(Ask((one,), sampling, adapter, False, groups, constraint, priority=priority) for one in messages)
    return CompletionCall(asks, several, model, stream, reads_usage(body, stream), echo)


def answer_prompts(assistant: Assistant, call: CompletionCall, stop: Event) -> Generator[ChoiceEvent, None, None]:
    """The events of the answers to all prompts, which are computed together, one of each in turn. Choice n · p + i is
    answer i to prompt p. Raises RequestError before the first event where one of the prompts is refused. Where it ends
    early `stop` is set, and the work on all of them ends."""
    with ExitStack() as opened:
        answers = [
            opened.enter_context(closing(answer_several(assistant, ask, call.several, stop))) for ask in call.asks
        ]
        streams = [_resumed(_started(events), events) for events in answers]
        for place, item in opened.enter_context(closing(read_together(streams, stop))):
            yield ChoiceEvent(place * call.several.n + item.index, item.event)


def _started(events: Generator[ChoiceEvent, None, None]) -> ChoiceEvent:
    """The first event, before which the request is checked."""
    try:
        return next(events)
    except RequestError as error:
        if error.param != "messages":
            raise
        raise RequestError(error.what, param="prompt", code=error.code, remedy=error.remedy) from error


def _resumed(first: ChoiceEvent, events: Generator[ChoiceEvent, None, None]) -> Generator[ChoiceEvent, None, None]:
    with closing(events):
        yield first
        yield from events


def _prompts(given: object) -> list[object]:
    if isinstance(given, str) or is_ids(given):
        return [given]
    if not isinstance(given, list) or not given:
        raise invalid("prompt", "it must be a text, token ids, or a list of either")
    return given


def _message(item: object, deployment: Deployment) -> Message:
    if isinstance(item, str):
        return Message("prompt", item)
    if not is_ids(item):
        raise invalid("prompt", "it must be a text, token ids, or a list of either")
    size = deployment.engine.tokenizer.vocab_size
    if strange := [token for token in item if not 0 <= token < size]:
        raise invalid("prompt", f"there is no token {strange[0]}", f"Token ids are whole numbers below {size}.")
    return tokens_message(item)
