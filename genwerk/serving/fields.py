"""Fields of a request: read by name and kind, and refused by name instead of passed over in silence."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from genwerk.core.errors import RequestError

__all__ = ["flag", "invalid", "is_ids", "no_model", "parse_body", "refuse_unserved", "text"]

# Fields of OpenAI's that are not served, with the value that means "not used" and is therefore let pass.
_UNSERVED: dict[str, Any] = {
    "tools": [], "tool_choice": "none", "parallel_tool_calls": None, "functions": [], "function_call": "none",
    "modalities": ["text"], "audio": None, "prediction": None,
    "web_search_options": None, "reasoning_effort": None, "verbosity": None, "store": False, "metadata": {},
    "service_tier": "auto", "safety_identifier": None, "prompt_cache_key": None, "echo": False,
    "suffix": None,
}  # fmt: skip
_HALF = re.compile("[\ud800-\udfff]")


def parse_body(data: bytes) -> dict[str, Any]:
    """The JSON object in a request body. Raises RequestError (400), also for text that is no Unicode."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise RequestError(f"the request body is not valid JSON: {reason}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise RequestError("the request body must be a JSON object", code="invalid_json")
    for name, value in body.items():
        if any(_HALF.search(found) for found in _texts([name, value])):
            raise invalid(_HALF.sub("?", name), "a text holds half a character", "Surrogates come in pairs.")
    return body


def is_ids(value: object) -> TypeGuard[list[int]]:
    """Whether it is a list of whole numbers, at least one."""
    return isinstance(value, list) and len(value) > 0 and all(type(one) is int for one in value)


def refuse_unserved(body: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise RequestError for a field that is not among the `known`, unless it says that it is not used."""
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


def flag(body: Mapping[str, Any], name: str, default: bool) -> bool:
    """A field that is true or false; `default` where it is missing or null. Raises RequestError."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(name, f"it is {value!r}", "Use true or false.")
    return value


def text(body: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    """A field that holds a text; empty where it is missing or null. Raises RequestError, also for an empty one that is
    `required`."""
    value = body.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value):
        raise invalid(name, "it is missing" if value is None else f"it is {value!r}", "It must be a text.")
    return value


def no_model(name: str, known: list[str]) -> RequestError:
    """What is raised (404) for a model that is not served, beside the names of those that are."""
    return RequestError(
        f"there is no model `{name}`", param="model", status=404, code="model_not_found",
        remedy=f"Models: {', '.join(known)}.",
    )  # fmt: skip


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value, names included."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]


def invalid(param: str, what: str, remedy: str = "") -> RequestError:
    """What is raised (400) for a field whose value cannot be taken: `what` it is, and what to do."""
    return RequestError(f"`{param}`: {what}", where="request", param=param, code="invalid_value", remedy=remedy)
