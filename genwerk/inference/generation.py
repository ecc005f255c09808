"""What an engine gives back: an answer step by step, and whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from genwerk.core.types import Receipt, Usage
from genwerk.inference.sampler import Draw, TokenLogprob

__all__ = ["Delta", "Generation", "TokenLogprob", "collect", "logprob_of"]


@dataclass(frozen=True, slots=True)
class Delta:
    """One step of an answer. `text` may be empty while characters or a possible stop string are incomplete; `token` is
    None for a step of a search whose answer is not yet found.

    finish_reason and usage are set on the last delta: "stop" (end token or stop string) or "length". prompt_logprobs
    come with the first token where they were asked for, one for each token of the prompt, None for the first.
    thinking is what a reasoning model thinks before it answers (reasoning.py).
    """

    text: str
    token: int | None = None
    logprob: TokenLogprob | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    prompt_logprobs: tuple[TokenLogprob | None, ...] = ()
    thinking: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """A whole answer. `tokens` are all that were drawn, an end token included; `logprobs` one each when asked for."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: str
    usage: Usage
    receipt: Receipt
    prompt_logprobs: tuple[TokenLogprob | None, ...] = ()
    thinking: str = ""


def logprob_of(draw: Draw) -> TokenLogprob | None:
    """What was measured when `draw` was drawn; None where nobody asked."""
    return None if draw.logprob is None else TokenLogprob(draw.token, draw.logprob, draw.top)


def collect(deltas: Iterator[Delta], receipt: Receipt) -> Generation:
    """All of a stream as one answer."""
    parts = list(deltas)
    last = parts[-1]
    assert last.finish_reason is not None and last.usage is not None
    return Generation(
        "".join(part.text for part in parts),
        tuple(part.token for part in parts if part.token is not None),
        tuple(part.logprob for part in parts if part.logprob is not None),
        last.finish_reason,
        last.usage,
        receipt,
        next((part.prompt_logprobs for part in parts if part.prompt_logprobs), ()),
        "".join(part.thinking for part in parts),
    )
