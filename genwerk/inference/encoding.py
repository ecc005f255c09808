"""Texts of many callers through one encoder: batches without padding, and turns with the engine that generates.

    encoding = Encoding(lambda texts: embed_tokens(encoder, [text.tokens for text in texts]))
    encoding.share(engine.between_steps)
    rows = encoding.run([EncodedText(tokens) for tokens in ...])

As with the engine, one of the callers that wait computes for all. A step takes up to `max_rows` tokens of whatever
waits: the next text is always of the user with the fewest tokens served (fair_share.py), then of the call that came
first, and of a call its longest. The texts of a step lie one behind the other, longest first, so that those of equal
length are neighbours. A step of few tokens is computed on one core, which is faster than waiting for a second.

A text's numbers are the same to the bit in any company where `compute` promises that (`steady`); where it does not, a
text gets a step of its own. What a step raises is raised to the callers of its texts, and to nobody else; who is
interrupted while it computes leaves alone, and its texts of others are computed by them.

Chosen:   steps of about a tenth of a second, between which answers get their tokens.
Left out: pieces of a text (it must be read whole), priorities.
Try it:   pytest tests/inference/test_encoding.py
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from genwerk.core.progress import say
from genwerk.inference.fair_share import FairShare

__all__ = ["EncodedText", "Encoding"]

_FEW = 48  # tokens for which waiting for a second core costs more than it gives


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Token numbers, special ones included, and of a pair of texts which one each is of."""

    tokens: Sequence[int]
    types: Sequence[int] = ()


Compute = Callable[[Sequence[EncodedText]], Tensor]
Turn = Callable[[], AbstractContextManager[None]]


@dataclass(eq=False, slots=True)
class _Call:
    """What one caller wants. `waiting`: places of texts that are still to be computed, the longest at the end."""

    texts: Sequence[EncodedText]
    user: str
    waiting: list[int]
    found: dict[int, Tensor] = field(default_factory=dict)
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.error is not None or len(self.found) == len(self.texts)


class Encoding:
    """Any thread may call it.

    compute    texts to a row each, (N, ...)
    steady     whether `compute` gives a text the same bits alone and among others; else it gets one at a time
    max_rows   most tokens of a step; a single text may have more
    few        tokens of a step up to which a single core computes it; 0 where bits depend on how many cores do
    """

    def __init__(self, compute: Compute, *, steady: bool = True, max_rows: int = 1024, few: int = _FEW) -> None:
        self._compute, self._steady, self._max_rows, self._few = compute, steady, max_rows, few
        self._changed, self._stepping = threading.Condition(), False
        self._calls: list[_Call] = []
        self._served = FairShare()
        self._turn: Turn = nullcontext
        if not steady:
            say("texts are encoded one by one: in batches this processor would add up in another order", style="yellow")

    def share(self, turn: Turn) -> None:
        """Compute inside `turn()` from now on, in which nobody else computes."""
        self._turn = turn

    def run(self, texts: Sequence[EncodedText], user: str = "") -> Tensor:
        """A row for each text, in their order. Raises what computing them raises; other callers' texts go on."""
        if not texts:
            raise ValueError("there is no text to encode")
        order = sorted(range(len(texts)), key=lambda place: (len(texts[place].tokens), -place))
        call = _Call(texts, user, order)
        with self._changed:
            self._served.join(user, (other.user for other in self._calls))
            self._calls.append(call)
        try:
            self._wait(call)
        finally:
            with self._changed:
                self._calls.remove(call)
        return torch.stack([call.found[place] for place in range(len(texts))])

    def _wait(self, call: _Call) -> None:
        """Until all of `call` is there: whoever waits computes, for all; the others look on."""
        while True:
            with self._changed:
                while self._stepping and not call.done:
                    self._changed.wait()
                if call.error is not None:
                    raise call.error
                if call.done:
                    return
                self._stepping = True
            try:
                self._step()
            finally:
                with self._changed:
                    self._stepping = False
                    self._changed.notify_all()

    def _step(self) -> None:
        with self._turn():
            with self._changed:
                batch = self._choose()
            try:
                rows = list(zip(batch, self._rows([call.texts[place] for call, place in batch]), strict=True))
            except Exception as error:
                with self._changed:
                    for call, _ in batch:
                        call.error = error
                return
            except BaseException:  # an interrupt is of this caller alone; the others compute what it leaves
                self._put_back(batch)
                raise
        with self._changed:
            for (call, place), row in rows:
                call.found[place] = row

    def _rows(self, texts: Sequence[EncodedText]) -> Tensor:
        if sum(len(text.tokens) for text in texts) > self._few:
            return self._compute(texts)
        return _one_thread().submit(self._compute, texts).result()

    def _choose(self) -> list[tuple[_Call, int]]:
        """The texts of the next step, longest first."""
        chosen: list[tuple[_Call, int]] = []
        room = self._max_rows
        while waiting := [call for call in self._calls if call.waiting and call.error is None]:
            call = min(waiting, key=lambda one: self._served[one.user])  # of equals the one that came first
            size = len(call.texts[call.waiting[-1]].tokens)
            if chosen and (size > room or not self._steady):
                break
            chosen.append((call, call.waiting.pop()))
            self._served.count(call.user, size)
            room -= size
        return sorted(chosen, key=lambda one: -len(one[0].texts[one[1]].tokens))

    def _put_back(self, batch: Sequence[tuple[_Call, int]]) -> None:
        """Undo `_choose`."""
        with self._changed:
            for call, place in reversed(batch):
                call.waiting.append(place)
                self._served.count(call.user, -len(call.texts[place].tokens))


@functools.cache
def _one_thread() -> ThreadPoolExecutor:
    """A thread in which torch uses no others.

    Thread counts belong to the thread that sets them; the second call restores what threads made later begin with.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(1, "encode-few")
    pool.submit(torch.set_num_threads, 1).result()
    torch.set_num_threads(threads)
    return pool
