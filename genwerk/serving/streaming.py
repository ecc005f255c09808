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
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from genwerk.core.errors import RequestError
from genwerk.monitoring.metrics import ServerMetrics

T = TypeVar("T")
AHEAD = 16  # items that may wait for their reader before their thread pauses


@dataclass(frozen=True, slots=True)
class End:
    """The stream has ended, or raised `error`."""

    error: BaseException | None = None


class Feeder(Generic[T]):
    """A blocking stream in a thread of its own, which puts its items and then an `End`. The reader says what it took.

    Raises RuntimeError where no thread can be started; the stream has not been touched then.
    """

    def __init__(self, stream: Generator[T, None, None], put: Callable[[T | End], None], name: str) -> None:
        self._stream, self._put, self._left = stream, put, False
        self._room = threading.Semaphore(AHEAD)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def took(self) -> None:
        """The reader has one item less to take."""
        self._room.release()

    def leave(self) -> None:
        """The reader takes nothing more: the stream is closed at its next item."""
        self._left = True
        self._room.release()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with contextlib.closing(self._stream):
                for item in self._stream:
                    self._room.acquire()
                    if self._left:
                        break
                    self._put(item)
        except BaseException as raised:  # raised again to the reader
            error = raised
        self._put(End(error))


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


async def relay(
    produce: Callable[[threading.Event], Generator[T, None, None]], admission: Admission, metrics: ServerMetrics
) -> AsyncGenerator[T, None]:
    """The items of `produce(stop)`, which runs in a thread. Raises what it raises, and RequestError (429) if full.

    Closing this generator before its end sets `stop` and counts a cancellation.
    """
    stop, loop = threading.Event(), asyncio.get_running_loop()
    items: asyncio.Queue[T | End] = asyncio.Queue()

    def put(item: T | End) -> None:
        if isinstance(item, End):
            admission.leave()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has stopped and nobody reads
            loop.call_soon_threadsafe(items.put_nowait, item)

    stream, ended = produce(stop), False
    admission.enter()
    try:
        feeder = Feeder(stream, put, "genwerk-answer")
    except RuntimeError:  # no thread to be had
        admission.leave()
        raise
    try:
        while not isinstance(item := await items.get(), End):
            feeder.took()
            yield item
        ended = True
        if item.error is not None:
            raise item.error
    finally:
        if not ended:
            metrics.cancelled()
            stop.set()
            feeder.leave()


async def gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond_whole(
    receive: Receive, spelled: Coroutine[Any, Any, bytes], events: AsyncGenerator[Any, None]
) -> Response:
    """The JSON that is `spelled` from `events`, which are closed as soon as the client leaves."""
    collecting = asyncio.ensure_future(spelled)
    watching = asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait({collecting, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        if not collecting.done():
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)
        await events.aclose()
    if collecting.cancelled():
        return Response(status_code=499)  # nobody is there to read it
    return Response(collecting.result(), media_type="application/json")


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
