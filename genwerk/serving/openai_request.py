"""Requests in OpenAI's shape: what is understood, and what is refused by name instead of ignored in silence.

Understood beside OpenAI's own: `top_k`, `min_p`, `typical_p`, `repetition_penalty`, `min_tokens`, `stop_token_ids`,
`bad_words`, `prompt_logprobs`, `beams`, `length_penalty`, `guided_regex`, `guided_choice`, `guided_grammar`,
`self_consistency` (so many answers are drawn, and one is given that ends where most do), `thinking_budget`,
`include_reasoning` (false: what a model thinks is not shown; what earlier answers thought is passed
over), `priority` (lower is served earlier), and `grounded` (false: the model alone, without the documents).
Without `temperature` an answer is greedy; without `seed` a drawn one gets a fresh seed, which its receipt names.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genwerk.core.types import Constraint, Message, Sampling, Several
from genwerk.inference.limits import check_priority, check_sampling
from genwerk.inference.several import MOST, check_several
from genwerk.serving.assistant import Ask
from genwerk.serving.deployment import Deployment
from genwerk.serving.fields import flag, invalid, is_ids, no_model, refuse_unserved, text

SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "seed", "min_tokens", "prompt_logprobs", "thinking_budget", "beams", "length_penalty",
)  # fmt: skip
_KNOWN = frozenset(
    (*SAMPLING, "model", "messages", "max_tokens", "max_completion_tokens", "stop", "logprobs", "top_logprobs",
     "stream", "stream_options", "user", "grounded", "response_format", "guided_regex", "guided_choice",
     "guided_grammar", "logit_bias", "stop_token_ids", "bad_words", "n", "best_of", "include_reasoning",
     "self_consistency", "priority")
)  # fmt: skip
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_DIGITS = 12  # more than a token id has


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A chat completion request, checked. `model` is the name to answer with; `several` says how many answers."""

    ask: Ask
    several: Several
    model: str
    stream: bool
    include_usage: bool


def parse_chat(body: Mapping[str, Any], deployment: Deployment, groups: tuple[str, ...] = ()) -> ChatCall:
    """Check a chat completion request of somebody in `groups`.

    Raises RequestError: 404 for an unknown model, else 400 with the field.
    """
    refuse_unserved(body, _KNOWN)
    model, adapter = find_model(body, deployment)
    stream, grounded = flag(body, "stream", False), flag(body, "grounded", deployment.index is not None)
    if grounded and deployment.index is None:
        raise invalid("grounded", "this deployment has no documents", "Ask with `grounded` false.")
    sampling = read_sampling(body, grounded)
    check_sampling(sampling, deployment.engine.tokenizer.vocab_size)
    if sampling.prompt_logprobs is not None and (grounded or stream):
        raise invalid("prompt_logprobs", "they come with a whole answer from the model alone",
                       "Ask with `grounded` and `stream` false.")  # fmt: skip
    messages = _messages(body.get("messages"), grounded)
    include_usage = reads_usage(body, stream)
    text(body, "user")
    constraint, thinking = read_constraint(body, grounded), flag(body, "include_reasoning", True)
    ask = Ask(messages, sampling, adapter, grounded, groups, constraint, thinking, read_priority(body))
    if sampling.thinking_budget is not None and deployment.engine.markers is None:
        raise invalid("thinking_budget", "this model has no thinking section", "Leave it out.")
    return ChatCall(ask, read_several(body, sampling, grounded), model, stream, include_usage)


def reads_usage(body: Mapping[str, Any], stream: bool) -> bool:
    """Whether a stream ends with its token counts."""
    options = body.get("stream_options") or {}
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise invalid("stream_options", "it must be an object with `include_usage`")
    if options and not stream:
        raise invalid("stream_options", "it is only allowed when `stream` is true")
    return flag(options, "include_usage", False)


def find_model(body: Mapping[str, Any], deployment: Deployment) -> tuple[str, str | None]:
    """The name asked for, and the adapter it stands for. Raises RequestError (404)."""
    name = text(body, "model", required=True)
    if name == deployment.engine.name:
        return name, None
    if name in deployment.engine.adapters:
        return name, name
    raise no_model(name, [deployment.engine.name, *deployment.engine.adapters])


def read_sampling(body: Mapping[str, Any], grounded: bool) -> Sampling:
    """How to draw. Raises RequestError for fields of the wrong kind; ranges are checked by `check_sampling`."""
    values: dict[str, Any] = {name: body[name] for name in SAMPLING if body.get(name) is not None}
    limits = [body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
    if limits:
        values["max_tokens"] = limits[0]
    for name in ("stop", "bad_words"):
        if (words := body.get(name)) is not None:
            values[name] = (words,) if isinstance(words, str) else tuple(words) if isinstance(words, list) else words
    values["logit_bias"] = _bias(body.get("logit_bias"))
    values["stop_tokens"] = _token_ids(body.get("stop_token_ids"))
    top = body.get("top_logprobs")
    if flag(body, "logprobs", False):
        if grounded:
            remedy = "Ask with `grounded` false."
            raise invalid("logprobs", "sentences of a grounded answer are checked and may be left out", remedy)
        values["logprobs"] = 0 if top is None else top
    elif top is not None:
        raise invalid("top_logprobs", "it needs `logprobs` true")
    temperature = values.get("temperature", 0)
    if "seed" not in values and isinstance(temperature, int | float) and temperature > 0:
        values["seed"] = secrets.randbelow(2**31)
    return Sampling(**values)


def read_several(body: Mapping[str, Any], sampling: Sampling, grounded: bool) -> Several:
    """How many answers. Raises RequestError."""
    n, best_of, votes = body.get("n"), body.get("best_of"), body.get("self_consistency")
    if votes is not None and best_of is not None:
        raise invalid("self_consistency", "it says how many answers are drawn, as `best_of` does", "Give one of them.")
    if votes is not None and (not isinstance(votes, int) or isinstance(votes, bool) or not 2 <= votes <= MOST):
        raise invalid("self_consistency", f"it is {votes!r}", f"It must be a whole number from 2 up to {MOST}.")
    several = Several(1 if n is None else n, best_of if votes is None else votes,
                      "likelihood" if votes is None else "majority")  # fmt: skip
    check_several(several, sampling)
    if grounded and several.drawn > 1:
        name = "n" if several.n > 1 else "best_of" if votes is None else "self_consistency"
        raise invalid(name, "documents are asked for one answer", "Ask with `grounded` false.")
    return several


def _bias(given: object) -> tuple[tuple[int, float], ...]:
    if given is None:
        return ()
    if not isinstance(given, dict) or not all(token.isdecimal() and len(token) <= _DIGITS for token in given):
        raise invalid("logit_bias", "it must be an object from token ids to numbers")
    return tuple((int(token), bias) for token, bias in given.items())


def _token_ids(given: object) -> tuple[int, ...]:
    if given is None:
        return ()
    if given != [] and not is_ids(given):
        raise invalid("stop_token_ids", "it must be a list of token ids")
    return tuple(given)


def read_priority(body: Mapping[str, Any]) -> int:
    """How early it is served; 0 where nothing is said. Raises RequestError."""
    priority: int = 0 if body.get("priority") is None else body["priority"]
    check_priority(priority)
    return priority


def read_constraint(body: Mapping[str, Any], grounded: bool) -> Constraint | None:
    """The form that `response_format` or one of vLLM's `guided_` fields asks for. Raises RequestError."""
    asked: dict[str, Constraint] = {}
    for name, kind in (("guided_regex", "regex"), ("guided_grammar", "grammar"), ("guided_choice", "choice")):
        if body.get(name) is not None:
            value = json.dumps(body[name]) if kind == "choice" else text(body, name, required=True)
            asked[name] = Constraint(kind, value)
    if (form := _response_format(body.get("response_format"))) is not None:
        asked["response_format"] = form
    if len(asked) > 1:
        raise invalid(list(asked)[1], f"an answer has one form, {' and '.join(asked)} were given")
    if asked and grounded:
        what = "sentences of a grounded answer are checked and may be left out, which would break the form"
        raise invalid(next(iter(asked)), what, "Ask with `grounded` false.")
    return next(iter(asked.values()), None)


def _response_format(given: object) -> Constraint | None:
    if given is None or given == {"type": "text"}:
        return None
    kind = given.get("type") if isinstance(given, dict) else given
    if isinstance(given, dict) and kind == "json_object":
        return Constraint("json")
    if isinstance(given, dict) and kind == "json_schema":
        held = given.get("json_schema")
        schema = held.get("schema") if isinstance(held, dict) else None
        if isinstance(schema, dict):
            return Constraint("json_schema", json.dumps(schema))
        raise invalid("response_format.json_schema.schema", "it must be a JSON schema")
    raise invalid("response_format.type", f"it is {kind!r}", "Use text, json_object or json_schema.")


def _messages(given: object, grounded: bool) -> tuple[Message, ...]:
    if not isinstance(given, list) or not given:
        raise invalid("messages", "it must be a list with at least one message")
    messages = tuple(_message(item, f"messages[{place}]") for place, item in enumerate(given))
    if messages[-1].role != "user":
        raise invalid("messages", f"the last message is the {messages[-1].role}'s", "End with a user message.")
    if grounded and not messages[-1].content.strip():
        raise invalid("messages", "the question is empty", "Write one.")
    return messages


def _message(item: object, where: str) -> Message:
    if not isinstance(item, dict):
        raise invalid(where, "a message must be an object with `role` and `content`")
    role = _ROLES.get(str(item.get("role")))
    if role is None:
        raise invalid(f"{where}.role", f"it is {item.get('role')!r}", f"Roles: {', '.join(_ROLES)}.")
    strange = [
        key
        for key, value in item.items()
        if key not in ("role", "content", "name", "genwerk", "reasoning_content") and value
    ]
    if strange:
        raise invalid(f"{where}.{strange[0]}", "this is not served")
    content = item.get("content")
    if isinstance(content, list):
        content = "".join(_part(part, f"{where}.content[{place}]") for place, part in enumerate(content))
    if not isinstance(content, str):
        raise invalid(f"{where}.content", "it must be a text or a list of text parts")
    return Message(role, content)


def _part(part: object, where: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise invalid(where, f"a part of type {kind!r} is not served", "Send parts of type text.")
