"""Requests in OpenAI's shape: what is understood, and what is refused by name instead of ignored in silence.

Understood beside OpenAI's own: `top_k`, `min_p`, `typical_p`, `repetition_penalty`, `min_tokens`, `stop_token_ids`,
`bad_words`, `prompt_logprobs`, `beams`, `length_penalty`, `guided_regex`, `guided_choice`, `guided_grammar`,
`self_consistency` (so many answers are drawn, and one is given that ends where most do), `thinking_budget`,
`include_reasoning` (false: what a model thinks is not shown; what earlier answers thought is passed
over), `priority` (lower is served earlier), and `grounded` (false: the model alone, without the documents).
Without `temperature` an answer is greedy; without `seed` a drawn one gets a fresh seed, which its receipt names.
"""

from __future__ import annotations

import difflib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genwerk.core.errors import RequestError
from genwerk.core.types import Constraint, Message, Sampling, Several
from genwerk.inference.limits import check_priority, check_sampling
from genwerk.inference.several import MOST, check_several
from genwerk.serving.assistant import Ask
from genwerk.serving.deployment import Deployment

_SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "seed", "min_tokens", "prompt_logprobs", "thinking_budget", "beams", "length_penalty",
)  # fmt: skip
_KNOWN = frozenset(
    (*_SAMPLING, "model", "messages", "max_tokens", "max_completion_tokens", "stop", "logprobs", "top_logprobs",
     "stream", "stream_options", "user", "grounded", "response_format", "guided_regex", "guided_choice",
     "guided_grammar", "logit_bias", "stop_token_ids", "bad_words", "n", "best_of", "include_reasoning",
     "self_consistency", "priority")
)  # fmt: skip
# Fields of OpenAI's that are not served, with the value that means "not used" and is therefore let pass.
_UNSERVED: dict[str, Any] = {
    "tools": [], "tool_choice": "none", "parallel_tool_calls": None, "functions": [], "function_call": "none",
    "modalities": ["text"], "audio": None, "prediction": None,
    "web_search_options": None, "reasoning_effort": None, "verbosity": None, "store": False, "metadata": {},
    "service_tier": "auto", "safety_identifier": None, "prompt_cache_key": None, "echo": False,
    "suffix": None,
}  # fmt: skip
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A chat completion request, checked. `model` is the name to answer with; `several` says how many answers."""

    ask: Ask
    several: Several
    model: str
    stream: bool
    include_usage: bool


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """An embeddings request, checked."""

    texts: tuple[str, ...]
    model: str
    base64: bool


def parse_body(data: bytes) -> dict[str, Any]:
    """The JSON object in a request body. Raises RequestError (400)."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise RequestError(f"the request body is not valid JSON: {reason}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise RequestError("the request body must be a JSON object", code="invalid_json")
    return body


def parse_chat(body: Mapping[str, Any], deployment: Deployment, groups: tuple[str, ...] = ()) -> ChatCall:
    """Check a chat completion request of somebody in `groups`.

    Raises RequestError: 404 for an unknown model, else 400 with the field.
    """
    _refuse_unserved(body, _KNOWN)
    model, adapter = _model(body, deployment)
    stream, grounded = _flag(body, "stream", False), _flag(body, "grounded", deployment.index is not None)
    if grounded and deployment.index is None:
        raise _invalid("grounded", "this deployment has no documents", "Ask with `grounded` false.")
    sampling = _sampling(body, grounded)
    check_sampling(sampling, deployment.engine.tokenizer.vocab_size)
    if sampling.prompt_logprobs is not None and (grounded or stream):
        raise _invalid("prompt_logprobs", "they come with a whole answer from the model alone",
                       "Ask with `grounded` and `stream` false.")  # fmt: skip
    messages = _messages(body.get("messages"), grounded)
    options = body.get("stream_options") or {}
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise _invalid("stream_options", "it must be an object with `include_usage`")
    if options and not stream:
        raise _invalid("stream_options", "it is only allowed when `stream` is true")
    include_usage = _flag(options, "include_usage", False)
    _text(body, "user")
    constraint = _constraint(body, grounded)
    if constraint is not None:
        deployment.engine.check_constraint(constraint)
    thinking = _flag(body, "include_reasoning", True)
    priority = 0 if body.get("priority") is None else body["priority"]
    check_priority(priority)
    ask = Ask(messages, sampling, adapter, grounded, groups, constraint, thinking, priority)
    if sampling.thinking_budget is not None and deployment.engine.markers is None:
        raise _invalid("thinking_budget", "this model has no thinking section", "Leave it out.")
    return ChatCall(ask, _several(body, sampling, grounded), model, stream, include_usage)


def parse_embeddings(body: Mapping[str, Any], name: str, dimension: int) -> EmbeddingCall:
    """Check an embeddings request for the embedding model `name`. Raises RequestError."""
    _refuse_unserved(body, frozenset(("model", "input", "encoding_format", "dimensions", "user")))
    model = _text(body, "model", required=True)
    if model != name:
        raise _no_model(model, [name])
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if isinstance(given, list) and any(_is_ids(item) or isinstance(item, int) for item in given):
        raise _invalid("input", "lists of token ids are not taken", "Send the text itself.")
    if not isinstance(texts, list) or not texts or not all(isinstance(item, str) for item in texts):
        raise _invalid("input", "it must be a string or a list of strings")
    if any(not item.strip() for item in texts):
        raise _invalid("input", "an empty text has no embedding")
    if len(texts) > 2048:
        raise _invalid("input", f"{len(texts)} texts at once", "Send at most 2048.")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise _invalid("encoding_format", f"it is {encoding!r}", "Use float or base64.")
    if body.get("dimensions") not in (None, dimension):
        raise _invalid("dimensions", f"{name} gives {dimension} dimensions and no other number")
    return EmbeddingCall(tuple(texts), model, encoding == "base64")


def _is_ids(item: object) -> bool:
    return isinstance(item, list) and all(isinstance(entry, int) for entry in item)


def _model(body: Mapping[str, Any], deployment: Deployment) -> tuple[str, str | None]:
    name = _text(body, "model", required=True)
    if name == deployment.engine.name:
        return name, None
    if name in deployment.engine.adapters:
        return name, name
    raise _no_model(name, [deployment.engine.name, *deployment.engine.adapters])


def _no_model(name: str, known: list[str]) -> RequestError:
    return RequestError(
        f"there is no model `{name}`", param="model", status=404, code="model_not_found",
        remedy=f"Models: {', '.join(known)}.",
    )  # fmt: skip


def _sampling(body: Mapping[str, Any], grounded: bool) -> Sampling:
    values: dict[str, Any] = {name: body[name] for name in _SAMPLING if body.get(name) is not None}
    limits = [body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
    if limits:
        values["max_tokens"] = limits[0]
    for name in ("stop", "bad_words"):
        if (words := body.get(name)) is not None:
            values[name] = (words,) if isinstance(words, str) else tuple(words) if isinstance(words, list) else words
    values["logit_bias"] = _bias(body.get("logit_bias"))
    values["stop_tokens"] = _token_ids(body.get("stop_token_ids"))
    top = body.get("top_logprobs")
    if _flag(body, "logprobs", False):
        if grounded:
            remedy = "Ask with `grounded` false."
            raise _invalid("logprobs", "sentences of a grounded answer are checked and may be left out", remedy)
        values["logprobs"] = 0 if top is None else top
    elif top is not None:
        raise _invalid("top_logprobs", "it needs `logprobs` true")
    temperature = values.get("temperature", 0)
    if "seed" not in values and isinstance(temperature, int | float) and temperature > 0:
        values["seed"] = secrets.randbelow(2**31)
    return Sampling(**values)


def _several(body: Mapping[str, Any], sampling: Sampling, grounded: bool) -> Several:
    n, best_of, votes = body.get("n"), body.get("best_of"), body.get("self_consistency")
    if votes is not None and best_of is not None:
        raise _invalid("self_consistency", "it says how many answers are drawn, as `best_of` does", "Give one of them.")
    if votes is not None and (not isinstance(votes, int) or isinstance(votes, bool) or not 2 <= votes <= MOST):
        raise _invalid("self_consistency", f"it is {votes!r}", f"It must be a whole number from 2 up to {MOST}.")
    several = Several(1 if n is None else n, best_of if votes is None else votes,
                      "likelihood" if votes is None else "majority")  # fmt: skip
    check_several(several, sampling)
    if grounded and several.drawn > 1:
        name = "n" if several.n > 1 else "best_of" if votes is None else "self_consistency"
        raise _invalid(name, "documents are asked for one answer", "Ask with `grounded` false.")
    return several


def _bias(given: object) -> tuple[tuple[int, float], ...]:
    if given is None:
        return ()
    if not isinstance(given, dict) or not all(str(token).isdigit() for token in given):
        raise _invalid("logit_bias", "it must be an object from token ids to numbers")
    return tuple((int(token), bias) for token, bias in given.items())


def _token_ids(given: object) -> tuple[int, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(token, int) for token in given):
        raise _invalid("stop_token_ids", "it must be a list of token ids")
    return tuple(given)


def _constraint(body: Mapping[str, Any], grounded: bool) -> Constraint | None:
    """The form that `response_format` or one of vLLM's `guided_` fields asks for."""
    asked: dict[str, Constraint] = {}
    for name, kind in (("guided_regex", "regex"), ("guided_grammar", "grammar"), ("guided_choice", "choice")):
        if body.get(name) is not None:
            value = json.dumps(body[name]) if kind == "choice" else _text(body, name, required=True)
            asked[name] = Constraint(kind, value)
    if (form := _response_format(body.get("response_format"))) is not None:
        asked["response_format"] = form
    if len(asked) > 1:
        raise _invalid(list(asked)[1], f"an answer has one form, {' and '.join(asked)} were given")
    if asked and grounded:
        what = "sentences of a grounded answer are checked and may be left out, which would break the form"
        raise _invalid(next(iter(asked)), what, "Ask with `grounded` false.")
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
        raise _invalid("response_format.json_schema.schema", "it must be a JSON schema")
    raise _invalid("response_format.type", f"it is {kind!r}", "Use text, json_object or json_schema.")


def _messages(given: object, grounded: bool) -> tuple[Message, ...]:
    if not isinstance(given, list) or not given:
        raise _invalid("messages", "it must be a list with at least one message")
    messages = tuple(_message(item, f"messages[{place}]") for place, item in enumerate(given))
    if messages[-1].role != "user":
        raise _invalid("messages", f"the last message is the {messages[-1].role}'s", "End with a user message.")
    if grounded and not messages[-1].content.strip():
        raise _invalid("messages", "the question is empty", "Write one.")
    return messages


def _message(item: object, where: str) -> Message:
    if not isinstance(item, dict):
        raise _invalid(where, "a message must be an object with `role` and `content`")
    role = _ROLES.get(str(item.get("role")))
    if role is None:
        raise _invalid(f"{where}.role", f"it is {item.get('role')!r}", f"Roles: {', '.join(_ROLES)}.")
    strange = [
        key
        for key, value in item.items()
        if key not in ("role", "content", "name", "genwerk", "reasoning_content") and value
    ]
    if strange:
        raise _invalid(f"{where}.{strange[0]}", "this is not served")
    content = item.get("content")
    if isinstance(content, list):
        content = "".join(_part(part, f"{where}.content[{place}]") for place, part in enumerate(content))
    if not isinstance(content, str):
        raise _invalid(f"{where}.content", "it must be a text or a list of text parts")
    return Message(role, content)


def _part(part: object, where: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise _invalid(where, f"a part of type {kind!r} is not served", "Send parts of type text.")


def _refuse_unserved(body: Mapping[str, Any], known: frozenset[str]) -> None:
    for name, value in body.items():
        if name in known or value is None:
            continue
        if name in _UNSERVED:
            if value == _UNSERVED[name] or (name == "service_tier" and value == "default"):
                continue
            raise RequestError(
                f"`{name}` is not served here", param=name, code="unsupported_parameter", remedy="Leave it out."
            )
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean `{near[0]}`?" if near else f"Known: {', '.join(sorted(known))}."
        raise RequestError(f"`{name}` is not a known field", param=name, code="unknown_parameter", remedy=hint)


def _flag(body: Mapping[str, Any], name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _invalid(name, f"it is {value!r}", "Use true or false.")
    return value


def _text(body: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    value = body.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value):
        raise _invalid(name, "it is missing" if value is None else f"it is {value!r}", "It must be a text.")
    return value


def _invalid(param: str, what: str, remedy: str = "") -> RequestError:
    return RequestError(f"`{param}`: {what}", where="request", param=param, code="invalid_value", remedy=remedy)
