"""A fair gate: at most `slots` threads inside, and whoever asked first enters first.

`threading.Lock` and `Semaphore` hand over to any waiter, so under load a request can starve; here waiting is a queue.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class Turnstile:
    """First come, first served. Use as a context manager; not reentrant."""

    def __init__(self, slots: int = 1) -> None:
        self._free = slots
        self._queue: deque[threading.Event] = deque()
        self._guard = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many threads stand in the queue now."""
        return len(self._queue)

    def acquire(self) -> None:
        with self._guard:
            if self._free and not self._queue:
                self._free -= 1
                return
            called = threading.Event()
            self._queue.append(called)
        try:
            called.wait()
        except BaseException:  # an interrupt while waiting: leave the queue, or pass on the turn already given
            with self._guard:
                if called in self._queue:
                    self._queue.remove(called)
                    raise
            self.release()
            raise

    def release(self) -> None:
        with self._guard:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1

    def __enter__(self) -> Turnstile:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
