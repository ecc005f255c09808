"""From blocking work to an event stream: a thread that produces, a bounded queue, a client that may leave.

The event loop never blocks: each answer is produced in its own thread, at most `Admission.limit` at once, and its items
cross over through `relay`. When the client leaves, `stop` is set, the producer's generator is closed at its next item,
and the slot is given back when its thread has really ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from genwerk.core.errors import RequestError
from genwerk.monitoring.metrics import ServerMetrics

T = TypeVar("T")
CAPACITY = 16  # items that may wait for a slow client before its producer pauses


@dataclass(frozen=True, slots=True)
class _End:
    """The producer has finished, or failed with `error`."""

    error: BaseException | None = None


class Admission:
    """At most `limit` answers in progress or waiting; the next is refused with status 429 instead of piling up."""

    def __init__(self, limit: int, metrics: ServerMetrics) -> None:
        self.limit, self.in_flight = limit, 0
        self._metrics, self._lock = metrics, threading.Lock()

    def enter(self) -> None:
        """Take a slot. Raises RequestError (429)."""
        with self._lock:
            if self.in_flight < self.limit:
                self.in_flight += 1
                self._metrics.in_flight.set(self.in_flight)
                return
        self._metrics.refused()
        raise RequestError(
            f"the server is busy with {self.limit} answers",
            status=429,
            code="overloaded",
            remedy="Try again in a few seconds.",
        )

    def leave(self) -> None:
        """Give the slot back."""
        with self._lock:
            self.in_flight -= 1
            self._metrics.in_flight.set(self.in_flight)


class _Producer(Generic[T]):
    """The thread's side of `relay`."""

    def __init__(self, produce: Callable[[threading.Event], Generator[T, None, None]], admission: Admission) -> None:
        self._produce, self._admission = produce, admission
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(CAPACITY)
        self.stop, self.ended = threading.Event(), False
        self.queue: asyncio.Queue[T | _End] = asyncio.Queue()

    def run(self) -> None:
        error: BaseException | None = None
        try:
            with contextlib.closing(self._produce(self.stop)) as items:
                for item in items:
                    self._room.acquire()
                    if self.stop.is_set():
                        break
                    self._hand_over(item)
        except BaseException as raised:
            error = raised
        self._admission.leave()
        self._hand_over(_End(error))

    def _hand_over(self, item: T | _End) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has stopped and nobody reads
            self._loop.call_soon_threadsafe(self.queue.put_nowait, item)

    def release(self) -> None:
        self._room.release()


async def relay(
    produce: Callable[[threading.Event], Generator[T, None, None]], admission: Admission, metrics: ServerMetrics
) -> AsyncGenerator[T, None]:
    """The items of `produce(stop)`, which runs in a thread. Raises what it raises, and RequestError (429) if full.

    Closing this generator before its end sets `stop` and counts a cancellation.
    """
    admission.enter()
    producer = _Producer(produce, admission)
    threading.Thread(target=producer.run, name="genwerk-answer", daemon=True).start()
    ended = False
    try:
        while True:
            item = await producer.queue.get()
            if isinstance(item, _End):
                ended = True
                if item.error is not None:
                    raise item.error
                return
            producer.release()
            yield item
    finally:
        if not ended:
            metrics.cancelled()
            producer.stop.set()
            producer.release()


async def gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events from an async generator of lines, which is closed as soon as the client leaves."""

    media_type = "text/event-stream"

    def __init__(self, lines: AsyncGenerator[bytes, None]) -> None:
        self._lines = lines
        self.status_code, self.background = 200, None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender = asyncio.ensure_future(self._send(send))
        watcher = asyncio.ensure_future(gone(receive))
        try:
            await asyncio.wait({sender, watcher}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watcher.cancel()
            sender.cancel()
            results = await asyncio.gather(sender, watcher, return_exceptions=True)
            await self._lines.aclose()
        if isinstance(results[0], Exception) and not isinstance(results[0], OSError):
            raise results[0]

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for line in self._lines:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def event(data: dict[str, Any] | str) -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()
