"""A request of ours as vLLM's: every field of `Sampling` and of `Constraint` is mapped, or refused by name.

    sampling_arguments(sampling, limit=64, ends={2})  →  {"temperature": 0.0, "max_tokens": 64, ...}

The result is plain data, the keyword arguments of vLLM's SamplingParams, so nothing of vLLM is imported here.

| ours | vLLM's | |
|---|---|---|
| temperature, top_k, top_p, min_p, penalties, logit_bias, min_tokens | the same | |
| seed | seed | its low 63 bits, because -1 would mean none there |
| stop_tokens, the model's end tokens | stop_token_ids, ignore_eos | |
| stop | none | our reader ends the answer, so no character leaks |
| logprobs, prompt_logprobs | the same | raw ones, before penalties and temperature, as ours |
| json_schema, json, regex, grammar, choice | structured_outputs | its `guidance` backend is llguidance, as ours is |
| typical_p, bad_words, beams, thinking_budget | refused | |
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from genwerk.core.errors import RequestError
from genwerk.core.types import Constraint, Sampling

__all__ = ["check_mapped", "form_arguments", "sampling_arguments"]

_SAME = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "logprobs", "prompt_logprobs",
)  # fmt: skip
_UNMAPPED = {
    "typical_p": "vLLM has no typical sampling",
    "bad_words": "vLLM leaves out one spelling of a word in tokens, and here no spelling may come through",
    "beams": "vLLM's beam search is a program around its engine, without what is promised here",
    "thinking_budget": "vLLM counts thinking by a parser of its own that is chosen for the whole engine",
}
_SMALLEST = 0.01  # vLLM raises a temperature below, unless it is 0
_KEYS = {"json_schema": "json", "json": "json_object", "regex": "regex", "grammar": "grammar", "choice": "choice"}


def check_mapped(sampling: Sampling, constraint: Constraint | None = None, *, thinks: bool = False) -> None:
    """Raise RequestError for what vLLM would do otherwise or not at all. thinks: the model has a thinking section."""
    plain = Sampling()
    for name, reason in _UNMAPPED.items():
        if getattr(sampling, name) != getattr(plain, name):
            raise _refused(name, reason)
    if 0 < sampling.temperature < _SMALLEST:
        raise _refused("temperature", f"vLLM raises temperatures below {_SMALLEST}")
    if constraint is not None and thinks:
        raise _refused("response_format", "vLLM would hold the thinking of this model to the form too")


def sampling_arguments(
    sampling: Sampling, *, limit: int, ends: Collection[int], constraint: Constraint | None = None
) -> dict[str, Any]:
    """Keyword arguments of vLLM's SamplingParams.

    limit   most tokens of the answer.
    ends    tokens that end an answer of this model.
    """
    arguments: dict[str, Any] = {name: getattr(sampling, name) for name in _SAME}
    arguments |= {
        "max_tokens": limit,
        "min_tokens": min(sampling.min_tokens, limit),
        "seed": sampling.seed & (2**63 - 1),
        "stop_token_ids": sorted({*ends, *sampling.stop_tokens}),
        "ignore_eos": True,  # they are among the stop tokens
        "detokenize": False,
    }
    if sampling.logit_bias:
        arguments["logit_bias"] = dict(sampling.logit_bias)
    if constraint is not None:
        arguments["structured_outputs"] = form_arguments(constraint)
    return arguments


def form_arguments(constraint: Constraint) -> dict[str, Any]:
    """Keyword arguments of vLLM's StructuredOutputsParams, for a form that our compiler has let pass."""
    values: dict[str, Any] = {"json": True}
    if constraint.kind == "choice":
        values["choice"] = json.loads(constraint.value)
    return {_KEYS[constraint.kind]: values.get(constraint.kind, constraint.value)}


def _refused(name: str, reason: str) -> RequestError:
    remedy = "Leave it out, or serve with `engine: native` or `torch`."
    return RequestError(f"{name} cannot be asked of vLLM: {reason}", param=name, code="unsupported", remedy=remedy)
