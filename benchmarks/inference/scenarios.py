"""What is asked of every engine, and the figure that is taken from its answer.

Every turn asks something else, so that nothing is known from the turn before; ours and the peer's turn ask the same.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from workers.protocol import Answer, Ask

__all__ = ["SCENARIOS", "Scenario", "Text", "together", "turns"]


def turns(most: int, least: int, seconds: float) -> Iterator[int]:
    """The numbers of the turns: `most`, but none begins once `least` are done and `seconds` are over. What is measured
    has no say in where they end."""
    began = time.perf_counter()
    for turn in range(most):
        if turn >= least and time.perf_counter() - began > seconds:
            return
        yield turn


class Text:
    """A long text in tokens, of which pieces are cut at places that follow from a key."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = list(ids)

    def cut(self, tokens: int, *key: object) -> list[int]:
        start = random.Random(repr(key)).randrange(len(self._ids) - tokens)
        return self._ids[start : start + tokens]


@dataclass(frozen=True)
class Scenario:
    """ask: of a text, the number of the turn and the most new tokens."""

    title: str
    ask: Callable[[Text, int, int], Ask]
    figure: Callable[[Ask, Answer], float]
    unit: str = "tokens/s"


def _single(text: Text, turn: int, new: int) -> Ask:
    return Ask([text.cut(128, "single", turn)], min(128, new))


def _prompt(text: Text, turn: int, new: int) -> Ask:
    return Ask([text.cut(1024, "prompt", turn)], 1)


def together(requests: int) -> Callable[[Text, int, int], Ask]:
    """So many requests of 128 tokens at once, 128 new ones each."""
    return lambda text, turn, new: Ask(
        [text.cut(128, requests, turn, number) for number in range(requests)], min(128, new)
    )


def _prefix(text: Text, turn: int, new: int) -> Ask:
    shared = text.cut(512, "prefix", turn)
    return Ask([shared + text.cut(32, "suffix", turn, number) for number in range(16)], min(64, new))


def _copying(lookup: bool) -> Callable[[Text, int, int], Ask]:
    """A passage, and its beginning again: what comes next stands there already."""

    def ask(text: Text, turn: int, new: int) -> Ask:
        passage = text.cut(256, "copying", turn)
        return Ask([passage + passage[:64]], min(128, new), lookup=lookup)

    return ask


def _decoded(ask: Ask, answer: Answer) -> float:
    """Tokens per second after the first."""
    return (ask.new - 1) / (answer.seconds - answer.first)


def _read(ask: Ask, answer: Answer) -> float:
    """Tokens of the prompt per second until the first new one."""
    return len(ask.prompts[0]) / answer.first


def _given(ask: Ask, answer: Answer) -> float:
    """New tokens of all requests per second, reading the prompts included."""
    return ask.new * len(ask.prompts) / answer.seconds


SCENARIOS = {
    "single": Scenario("one stream, 128 in, 128 out", _single, _decoded),
    "prompt": Scenario("reading 1,024 tokens", _prompt, _read),
    "eight": Scenario("8 requests, 128 in, 128 out", together(8), _given),
    "sixteen": Scenario("16 requests, 128 in, 128 out", together(16), _given),
    "prefix": Scenario("16 requests, 512 shared + 32 in, 64 out", _prefix, _given),
    "copying": Scenario("one stream that copies, with lookup", _copying(True), _decoded),
    "copying-plain": Scenario("one stream that copies, without lookup", _copying(False), _decoded),
}
