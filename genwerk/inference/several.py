"""Several answers to one prompt: n of them, or the best n of more.

    for generation in generate_several(engine, request, Several(n=3)): print(generation.text)

Source: `n` and `best_of` of OpenAI's completions API.

    s_0 = s,    s_i = H(s, i)  for i >= 1        the seed of answer i; H: the first 63 bits of BLAKE2b of "s i"
    best_of     where `pick` is likelihood: the n with the highest  (1 / T) · sum_t ln p(x_t | x_<t),  best first

s   the request's seed
T   tokens of an answer, its end token included;  p the model's own distribution, before temperature and filters

Chosen:   answer i is what its own seed gives alone, so its receipt names that seed and nothing of the others. The first
          answer reads the prompt, and the others find its blocks in the prefix cache, and copy the last one: a position
          is computed for each. All advance together, one token each, whichever of them is read.
Left out: beams, which are beam_search.py, and the majority, which is self_consistency.py.
Try it:   pytest tests/inference/test_several.py
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

from genwerk.core.errors import RequestError
from genwerk.core.types import Request, Sampling, Several
from genwerk.inference.generation import Delta, Generation, TokenLogprob, collect
from genwerk.inference.self_consistency import Judge, majority
from genwerk.inference.text_engine import TextEngine

__all__ = [
    "MOST",
    "Answer",
    "Answers",
    "Indexed",
    "check_several",
    "generate_several",
    "seed_of",
    "stream_several",
    "take_turns",
]

_Item = TypeVar("_Item")

MOST = 64  # answers drawn for one request
PICKS = ("likelihood", "majority")


@dataclass(frozen=True, slots=True)
class Answer:
    """One of several answers, and the request it is the only answer to.

    support   the share of all drawn answers that end as it does, where the majority picked it.
    """

    request: Request
    deltas: Generator[Delta, None, None]
    support: float | None = None


@dataclass(frozen=True, slots=True)
class Indexed:
    """A step of answer `index`."""

    index: int
    delta: Delta


def seed_of(seed: int, index: int) -> int:
    """The seed of answer `index` to a request with `seed`; that of answer 0 is its own."""
    if index == 0:
        return seed
    digest = hashlib.blake2b(f"{seed} {index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def check_several(several: Several, sampling: Sampling) -> None:
    """Raise RequestError naming what is out of range, or makes no sense with this sampling."""
    n, best_of = several.n, several.best_of
    if not _whole(n, 1):
        raise _refused("n", n, f"It must be a whole number from 1 up to {MOST}.")
    if best_of is not None and not _whole(best_of, n):
        raise _refused("best_of", best_of, f"It must be a whole number from n, which is {n}, up to {MOST}.")
    if several.pick not in PICKS:
        raise _refused("pick", several.pick, f"Known: {', '.join(PICKS)}.")
    if several.pick == "majority" and n > 1:
        raise _refused("n", n, "The majority gives one answer: leave n out.")
    if several.pick == "majority" and sampling.temperature == 0.0:
        raise _refused("temperature", 0, "Answers that are all the same need no majority: give one above 0.")
    if several.drawn > 1 and sampling.beams > 1:
        raise _refused("beams", sampling.beams, "Beam search finds one answer: ask for one.")


class Answers:
    """The answers to one request, each read on its own. `stream` opens one; close() ends the work on all."""

    def __init__(
        self, stream: Callable[[Request], Generator[Delta, None, None]], request: Request, several: Several,
        judge: Judge | None = None,
    ) -> None:  # fmt: skip
        check_several(several, request.sampling)
        self._judge = judge
        self._support: float | None = None
        self._several, self._asked = several, request.sampling
        self._picks = several.drawn > several.n
        count, seed = several.drawn, request.sampling.seed
        self._requests = [
            replace(request, sampling=replace(request.sampling, seed=seed_of(seed, index))) for index in range(count)
        ]
        self._streams = [stream(self._drawn(one, index)) for index, one in enumerate(self._requests)]
        self._held: list[deque[Delta]] = [deque() for _ in self._streams]
        self._live = set(range(count))
        self._scores: tuple[TokenLogprob | None, ...] = ()
        self._order: list[int] | None = None if self._picks else list(range(count))

    def open(self, place: int) -> Answer:
        """The answer at `place`. Where the best are picked, all are drawn to their ends before."""
        if self._order is None:
            while self._live:
                self._advance()
            self._order = self._pick()
        index = self._order[place]
        return Answer(self._requests[index], self._read(index), self._support)

    def close(self) -> None:
        """End the work on every answer."""
        for stream in self._streams:
            stream.close()
        self._live.clear()

    def _pick(self) -> list[int]:
        """Indices, best first."""
        if self._several.pick == "likelihood":
            return _likeliest(self._held)
        vote = majority(["".join(delta.text for delta in deltas) for deltas in self._held], judge=self._judge)
        self._support = vote.support
        return [vote.index]

    def _drawn(self, request: Request, index: int) -> Request:
        """What the engine is asked: a ranking needs log-probabilities, and the prompt is scored once."""
        sampling = request.sampling
        if self._picks and sampling.logprobs is None:
            sampling = replace(sampling, logprobs=0)
        return replace(request, sampling=sampling if index == 0 else replace(sampling, prompt_logprobs=None))

    def _advance(self) -> None:
        """A token of every answer that goes on, in their order."""
        for index in sorted(self._live):
            delta = next(self._streams[index], None)
            if delta is None:
                self._live.discard(index)
            else:
                self._scores = self._scores or delta.prompt_logprobs
                self._held[index].append(delta)

    def _read(self, index: int) -> Generator[Delta, None, None]:
        held, told = self._held[index], False
        try:
            while held or index in self._live:
                if not held:
                    self._advance()
                    continue
                delta = held.popleft()
                logprob = None if self._asked.logprobs is None else delta.logprob
                yield replace(delta, logprob=logprob, prompt_logprobs=() if told else self._scores)
                told = True
        finally:
            self._streams[index].close()
            self._live.discard(index)


def generate_several(
    engine: TextEngine, request: Request, several: Several, judge: Judge | None = None
) -> tuple[Generation, ...]:
    """The n answers, whole; the best first where they are picked. Raises RequestError for what cannot be asked.

    judge   chooses in place of the majority
    """
    with closing(Answers(engine.stream, request, several, judge)) as answers:
        found = [answers.open(place) for place in range(several.n)]
        return tuple(collect(answer.deltas, engine.receipt(answer.request)) for answer in found)


def stream_several(engine: TextEngine, request: Request, several: Several) -> Generator[Indexed, None, None]:
    """The n answers step by step, a step of each in turn. The request is checked here, before the first step."""
    return _stream(Answers(engine.stream, request, several), several.n)


def _stream(answers: Answers, count: int) -> Generator[Indexed, None, None]:
    with closing(answers):
        streams = [answers.open(index).deltas for index in range(count)]
        for index, delta in take_turns(streams):
            yield Indexed(index, delta)


def take_turns(streams: Sequence[Iterator[_Item]]) -> Iterator[tuple[int, _Item]]:
    """What comes out of each, one after the other and with its place, until all have ended."""
    live = dict(enumerate(streams))
    while live:
        for place, stream in list(live.items()):
            try:
                item = next(stream)
            except StopIteration:
                del live[place]
            else:
                yield place, item


def _likeliest(answers: Sequence[Sequence[Delta]]) -> list[int]:
    """Indices by mean log-probability, highest first; of equals the one that was drawn first."""
    means = []
    for deltas in answers:
        logprobs = [delta.logprob.logprob for delta in deltas if delta.logprob is not None]
        means.append(sum(logprobs) / len(logprobs))
    return sorted(range(len(means)), key=lambda index: -means[index])


def _whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= MOST


def _refused(name: str, value: object, remedy: str) -> RequestError:
    return RequestError(f"{name} is {value!r}", param=name, code="invalid_value", remedy=remedy)
