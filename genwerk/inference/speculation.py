"""How far to foretell: foretold tokens cost time and pay only where enough of them are drawn.

Source: Leviathan et al. (2023), Fast inference from transformers via speculative decoding, eq. 1 and theorem 3.8.

    E(α, k) = 1 + α + ... + α^k                                        tokens of a step with k foretold ones
    rate(k) = sum_s E(α_s, k) / ( T(S (k + 1)) + k D(S) )              tokens per second; the k of the largest is taken

α_s      how likely a foretold token of sequence s is the one drawn: counted, older counts fade
S        sequences of the step
T(n)     seconds of a step of the target with n rows, measured
D(n)     seconds of a step of the draft with n rows, measured

k = 0 where nothing pays; then nothing is foretold for a while, tried for a few steps, and the pause grows as long as
the trials fail. Times decide how much is foretold, never what is drawn: every token is verified.

Chosen:   one k for all sequences of a step, so that drafting takes k small steps for all of them. Times are taken once,
          when the draft is loaded: what matters is their ratio, which a busy machine changes little.
Left out: the cost of attention in long contexts (it makes foretelling pay sooner), trees of tokens.
Try it:   pytest tests/inference/test_speculation.py
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from genwerk.inference.runner import BLOCK, Chunk, Runner

__all__ = ["Chance", "Draft", "Pace", "StepTimes", "expected_tokens", "measure_steps", "tokens_per_second"]

_SIZES = (1, 2, 4, 8, 16, 32, 64)
_REPEATED = 8  # steps of up to so many rows are timed more than once


class Draft(Protocol):
    """Follows one sequence and says what may come next; answers are the same whatever it says."""

    def extend(self, token: int) -> None:
        """The next token of the sequence."""
        ...

    def propose(self, most: int) -> list[int]:
        """Up to `most` tokens that may come now."""
        ...

    def learn(self, proposed: int, accepted: int) -> None:
        """So many of the `proposed` tokens were drawn."""
        ...

    def release(self) -> None:
        """The sequence waits or has ended: give back what is held for it. It may go on later."""
        ...


class StepTimes:
    """Seconds of a step by its rows: measured at some sizes, straight lines between and after."""

    def __init__(self, rows: Sequence[int], seconds: Sequence[float]) -> None:
        self._rows, self._seconds = np.asarray(rows, dtype=float), np.maximum.accumulate(seconds)

    def __call__(self, rows: int) -> float:
        beyond = rows - self._rows[-1]
        if beyond <= 0 or len(self._rows) == 1:
            return float(np.interp(rows, self._rows, self._seconds))
        slope = (self._seconds[-1] - self._seconds[-2]) / (self._rows[-1] - self._rows[-2])
        return float(self._seconds[-1] + slope * beyond)


def measure_steps(runner: Runner) -> StepTimes:
    """Time steps of a runner that serves nobody yet: it writes into its first blocks."""
    longest = min(runner.config.max_positions, runner.blocks * BLOCK, _SIZES[-1])
    sizes = [size for size in _SIZES if size <= longest]
    table = range(-(-longest // BLOCK))
    seconds = []
    for size in sizes:
        chunk = Chunk([0] * size, 0, table, wanted=size)
        seconds.append(min(_seconds(runner, chunk) for _ in range(3 if size <= _REPEATED else 1)))
    return StepTimes(sizes, seconds)


def _seconds(runner: Runner, chunk: Chunk) -> float:
    started = time.perf_counter()
    runner.step([chunk])
    return time.perf_counter() - started


def expected_tokens(chance: float, k: int) -> float:
    """E(α, k): of k foretold tokens those before the first wrong one, and the one drawn after them."""
    return float(sum(chance**i for i in range(k + 1)))


def tokens_per_second(chances: Sequence[float], k: int, target: StepTimes, draft: StepTimes) -> float:
    """rate(k) of a step with one sequence per chance."""
    sequences = len(chances)
    return sum(expected_tokens(chance, k) for chance in chances) / (
        target(sequences * (k + 1)) + (k * draft(sequences) if k else 0.0)
    )


class Chance:
    """α of a sequence or of all: how many of the tokens that were compared were right.

    fade   what is left of the counts with each step that is counted.
    """

    def __init__(self, start: float, weight: float = 4.0, fade: float = 0.95) -> None:
        self._right, self._tried, self._fade = start * weight, weight, fade

    @property
    def value(self) -> float:
        return self._right / self._tried

    def learn(self, proposed: int, accepted: int) -> None:
        """Tokens after the first wrong one were never compared."""
        compared = accepted + (accepted < proposed)
        self._right, self._tried = self._fade * self._right + accepted, self._fade * self._tried + compared


class Pace:
    """Chooses k step by step. `most`: never more than so many."""

    first_pause, longest_pause = 64, 1024  # steps
    trial, trial_length = 4, 2  # steps, and the k of each

    def __init__(self, target: StepTimes, draft: StepTimes, most: int = 8) -> None:
        self.target, self.draft, self.most = target, draft, most
        self._pause, self._waits, self._trials = self.first_pause, 0, 0

    def best(self, chances: Sequence[float]) -> int:
        """The k with the most tokens per second; 0: none pays."""
        rates = [tokens_per_second(chances, k, self.target, self.draft) for k in range(self.most + 1)]
        return int(np.argmax(rates))

    def next(self, chances: Sequence[float]) -> int:
        """How many tokens to foretell in this step for sequences with these chances."""
        if not chances:
            return 0
        if self._waits:
            self._waits -= 1
            self._trials = self.trial if self._waits == 0 else 0
            return 0
        if self._trials:
            self._trials -= 1
            return min(self.trial_length, self.most)
        k = self.best(chances)
        if k:
            self._pause = self.first_pause
        else:
            self._waits, self._pause = self._pause, min(2 * self._pause, self.longest_pause)
        return k
