"""Progress bars with time left, for anything that takes more than two seconds.

    with track("embedding", total=len(chunks), unit="chunks") as bar:
        for chunk in chunks:
            ...
            bar.advance(1, note="loss 2.31")

On a terminal it is a rich bar on stderr; elsewhere a line is logged about every ten seconds, so that a log file shows
that the work is alive.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_LOG_EVERY_SECONDS = 10.0


class Bar:
    """One running count. `advance` moves it; `note` is shown beside it (loss, tokens per second)."""

    def __init__(self, label: str, total: int | None, unit: str, progress: Progress | None) -> None:
        self._label, self._total, self._unit, self._progress = label, total, unit, progress
        self._done, self._started, self._logged = 0, time.monotonic(), time.monotonic()
        self._task = progress.add_task(label, total=total, note="") if progress else None

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        self._done += amount
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, amount)
            if note:
                self._progress.update(self._task, note=note)
        elif time.monotonic() - self._logged >= _LOG_EVERY_SECONDS:
            self._logged = time.monotonic()
            spent = self._logged - self._started
            line = f"{self._label}: {self._done} {self._unit}, {spent:.0f} s {note}"
            if self._total is not None:
                left = spent / max(self._done, 1) * max(self._total - self._done, 0)
                line = (
                    f"{self._label}: {self._done}/{self._total} {self._unit}, {spent:.0f} s, {left:.0f} s left {note}"
                )
            print(line.rstrip(), file=sys.stderr, flush=True)


def say(message: str, *, style: str = "") -> None:
    """One line for the person who runs it, on stderr. Square brackets stay as they are."""
    from rich.console import Console  # 60 ms, which a quiet start does without

    Console(stderr=True).print(message, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def track(label: str, *, total: int | None, unit: str = "steps") -> Iterator[Bar]:
    """Show progress of `total` units of work while the block runs; none: nobody knows how many there are."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Bar(label, total, unit, None)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("[dim]{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(label, total, unit, progress)
