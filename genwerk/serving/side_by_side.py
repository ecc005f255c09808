"""Blocking streams read at the same time, each in a thread of its own, so that the engine computes them together.

    streams ─┬─ thread ─ up to AHEAD items ─┐
             └─ thread ─ up to AHEAD items ─┴─ one of each in turn

Of callers that wait at the same time the engine serves all in one step; read one after the other in a single thread,
each stream would have the engine to itself until its next item is there.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

from genwerk.inference.several import take_turns
from genwerk.serving.streaming import End, Feeder

__all__ = ["read_together"]

T = TypeVar("T")


def read_together(
    streams: Sequence[Generator[T, None, None]], stop: threading.Event
) -> Generator[tuple[int, T], None, None]:
    """An item of each stream in turn, with its place, until all have ended. Raises what a stream raises.

    Where it ends early, by an error or by close(), `stop` is set, which the streams are to heed. All that were begun
    are closed, and their threads have ended, when it returns.
    """
    readers: list[_Reader[T]] = []
    try:
        readers.extend(map(_Reader, streams))
        yield from take_turns(readers)
    except BaseException:
        stop.set()
        raise
    finally:
        for reader in readers:
            reader.close()


class _Reader(Iterator[T], Generic[T]):
    """A stream, read from the thread that runs it. Raises what the stream raises."""

    def __init__(self, stream: Generator[T, None, None]) -> None:
        self._items: SimpleQueue[T | End] = SimpleQueue()
        self._feeder = Feeder(stream, self._items.put, "genwerk-stream")

    def __next__(self) -> T:
        item = self._items.get()
        if not isinstance(item, End):
            self._feeder.took()
            return item
        self._items.put(item)
        raise StopIteration if item.error is None else item.error

    def close(self) -> None:
        """Close the stream at its next item, and wait for that."""
        self._feeder.leave()
        self._feeder.join()
