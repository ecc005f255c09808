"""How long an answer takes, measured on the very answers whose citations are checked.

    first token   question asked → first token drawn (search and reading the prompt included)
    decoding      (tokens - 1) / (last token - first token)
    answer        question asked → last checked sentence

Chosen:   median with the fastest and the slowest: a mean of few timings follows its outliers. The first answer is not
          counted: it warms up.
Left out: throughput under load (benchmarks/ measures engines beside their peers).
Try it:   genwerk evaluate
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from genwerk.core.machine import probe
from genwerk.core.types import Request
from genwerk.evaluation.measures import Measure
from genwerk.inference.engine import Delta

__all__ = ["AnswerTime", "Stopwatch", "machine_facts", "measure_speed"]


@dataclass(frozen=True, slots=True)
class AnswerTime:
    """Seconds of one answer from the question on; None where no token was generated (silence)."""

    answer: float
    first_token: float | None
    last_token: float | None
    tokens: int

    @property
    def tokens_per_second(self) -> float | None:
        if self.first_token is None or self.last_token is None or self.last_token <= self.first_token:
            return None
        return (self.tokens - 1) / (self.last_token - self.first_token)


class Stopwatch:
    """Wraps the engine's `stream` and notes when tokens come; `start` before the question, `stop` after the answer."""

    def __init__(
        self,
        generate: Callable[[Request], Generator[Delta, None, None]],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._generate, self._clock = generate, clock
        self.start()

    def start(self) -> None:
        self._asked = self._clock()
        self._first: float | None = None
        self._last: float | None = None
        self._tokens = 0

    def __call__(self, request: Request) -> Generator[Delta, None, None]:
        with closing(self._generate(request)) as deltas:
            for delta in deltas:
                if delta.token is not None:
                    self._last = self._clock() - self._asked
                    self._first = self._last if self._first is None else self._first
                    self._tokens += 1
                yield delta

    def stop(self) -> AnswerTime:
        return AnswerTime(self._clock() - self._asked, self._first, self._last, self._tokens)


def measure_speed(times: Sequence[AnswerTime]) -> tuple[Measure, ...]:
    """Medians over the answers that generated at all; empty without any."""
    generated = [item for item in times if item.first_token is not None]
    first = [1000 * item.first_token for item in generated if item.first_token is not None]
    rates = [item.tokens_per_second for item in generated if item.tokens_per_second is not None]
    found = (
        ("speed.first_token_ms", first, "from the question to the first token; search and reading the prompt included"),
        ("speed.decode_tokens_per_second", rates, "tokens after the first, per second"),
        ("speed.answer_seconds", [item.answer for item in generated], "from the question to the last checked sentence"),
    )
    return tuple(
        Measure(name, statistics.median(values), len(values), how, min(values), max(values), "fastest to slowest")
        for name, values, how in found
        if values
    )


def machine_facts() -> Mapping[str, Any]:
    """What timings depend on: cores, processor, memory, GPUs; no name that tells whose machine it is."""
    machine = probe()
    return {
        "cores": machine.cores,
        "cpu": machine.cpu,
        "memory_bytes": machine.memory_bytes,
        "gpus": [gpu.name for gpu in machine.gpus],
    }
