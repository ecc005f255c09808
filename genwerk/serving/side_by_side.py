"""Blocking streams read at the same time, each in a thread of its own, so that the engine computes them together.

    streams ─┬─ thread ─ up to AHEAD items ─┐
             └─ thread ─ up to AHEAD items ─┴─ one of each in turn

Of callers that wait at the same time the engine serves all in one step; read one after the other in a single thread,
each stream would have the engine to itself until its next item is there.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from genwerk.inference.several import take_turns

__all__ = ["AHEAD", "read_together"]

T = TypeVar("T")
AHEAD = 16  # items of a stream that may wait for their reader before its thread pauses


def read_together(
    streams: Sequence[Generator[T, None, None]], stop: threading.Event
) -> Generator[tuple[int, T], None, None]:
    """An item of each stream in turn, with its place, until all have ended. Raises what a stream raises.

    Where it ends early, by an error or by close(), `stop` is set, which the streams are to heed. All are closed, and
    their threads have ended, when it returns.
    """
    readers = [_Reader(stream) for stream in streams]
    try:
        yield from take_turns(readers)
    except BaseException:
        stop.set()
        raise
    finally:
        for reader in readers:
            reader.close()


@dataclass(frozen=True, slots=True)
class _End:
    """The stream has ended, or raised `error`."""

    error: BaseException | None = None


class _Reader(Iterator[T], Generic[T]):
    """A stream, and the thread that runs it. Raises what the stream raises."""

    def __init__(self, stream: Generator[T, None, None]) -> None:
        self._stream, self._left = stream, False
        self._items: SimpleQueue[T | _End] = SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._thread = threading.Thread(target=self._run, name="genwerk-stream", daemon=True)
        self._thread.start()

    def __next__(self) -> T:
        item = self._items.get()
        if not isinstance(item, _End):
            self._room.release()
            return item
        self._items.put(item)
        raise StopIteration if item.error is None else item.error

    def close(self) -> None:
        """Close the stream at its next item, and wait for that."""
        self._left = True
        self._room.release()
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with closing(self._stream):
                for item in self._stream:
                    self._room.acquire()
                    if self._left:
                        break
                    self._items.put(item)
        except BaseException as raised:  # raised again to the reader
            error = raised
        self._items.put(_End(error))
