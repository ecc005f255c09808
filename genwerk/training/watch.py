"""What a person and the event log see of a run while it is alive: loss, speed, time left.

None of it enters an artifact's files, so that they stay the same for the same run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from genwerk.core.events import EventLog
from genwerk.core.progress import Bar, track

__all__ = ["Watch", "watch_run"]

_EVENT_EVERY_SECONDS = 5.0
_MEMORY = 0.9  # the shown loss is a running mean: this much of it is what was shown before


class Watch:
    """Counts tokens (or what `unit` says) and seconds of the steps of this process; no time outside `step` is."""

    def __init__(self, bar: Bar, events: EventLog, label: str, unit: str = "tokens") -> None:
        self._bar, self._events, self._label, self._unit = bar, events, label, unit
        self._loss: float | None = None
        self._told = time.monotonic()
        self.tokens, self.seconds = 0, 0.0

    @contextmanager
    def step(self, tokens: int) -> Iterator[None]:
        """Wrap the computation of one step over `tokens` tokens."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started
        self.tokens += tokens

    def done(self, step: int, loss: float, **more: float) -> None:
        """Move the bar after a finished step; every few seconds an event is written."""
        self._loss = loss if self._loss is None else _MEMORY * self._loss + (1 - _MEMORY) * loss
        shown = "".join(f", {name.replace('_', ' ')} {value:.3f}" for name, value in more.items())
        self._bar.advance(1, note=f"loss {self._loss:.3f}, {self.tokens_per_second:,.0f} {self._unit}/s{shown}")
        if time.monotonic() - self._told >= _EVENT_EVERY_SECONDS or more:
            self._told = time.monotonic()
            speed = {f"{self._unit}_per_second": round(self.tokens_per_second, 1)}
            self._events.emit(f"{self._label}.progress", at=step, loss=loss, **speed, **more)

    @property
    def tokens_per_second(self) -> float:
        """Over the training steps of this process."""
        return self.tokens / self.seconds if self.seconds else 0.0


@contextmanager
def watch_run(label: str, events: EventLog, *, total: int, done: int, unit: str = "tokens") -> Iterator[Watch]:
    """Show a run of `total` steps of which `done` were finished before; unit: of what is read in a step."""
    with track(label if not done else f"{label} (goes on from step {done})", total=total - done) as bar:
        yield Watch(bar, events, label, unit)
