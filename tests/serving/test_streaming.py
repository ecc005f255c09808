"""Invariant: a client that leaves stops the work, a slow one stops the producer, a full queue refuses."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from genwerk.core.errors import RequestError
from genwerk.monitoring.metrics import ServerMetrics
from genwerk.serving.encoders import Encoders
from genwerk.serving.streaming import AHEAD, Admission, relay

LONG = {
    "model": "handbook-base", "grounded": False, "max_tokens": 1900, "stream": True, "temperature": 1.0, "seed": 3,
    "messages": [{"role": "user", "content": "Write"}],
}  # fmt: skip


def watch_leaving(server: Any, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when an answer's thread has ended."""
    left, leave = threading.Event(), server.app.state.admission.leave

    def leave_and_tell() -> None:
        leave()
        left.set()

    monkeypatch.setattr(server.app.state.admission, "leave", leave_and_tell)
    return left


def count_tokens(server: Any, monkeypatch: pytest.MonkeyPatch, go_on: threading.Event) -> list[int]:
    """Tokens the engine drew, counted at the engine; after a few of them it waits until it may go on."""
    drawn: list[int] = []
    engine = server.assistant.deployment.engine
    stream = engine.stream

    def counted(request: Any) -> Generator[Any, None, None]:
        for delta in stream(request):
            drawn.append(delta.token)
            yield delta
            if len(drawn) == 20:
                go_on.wait(60)

    monkeypatch.setattr(engine, "stream", counted)
    return drawn


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_generation(
    start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    server, noticed = start_server(), threading.Event()
    left, drawn = watch_leaving(server, monkeypatch), count_tokens(server, monkeypatch, noticed)
    count = server.assistant.metrics.cancelled
    monkeypatch.setattr(server.assistant.metrics, "cancelled", lambda: (count(), noticed.set()))
    if stream:
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=LONG, timeout=60) as response:
            next(response.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/chat/completions", json=LONG | {"stream": False}, timeout=0.3)
    assert left.wait(60), "the generation did not end"
    assert len(drawn) < 1900
    assert server.assistant.metrics.value("genwerk_cancelled_total") == 1
    assert server.app.state.admission.in_flight == 0
    ask = LONG | {"max_tokens": 3, "stream": False}
    again = httpx.post(f"{server.url}/v1/chat/completions", json=ask, timeout=60)
    assert again.status_code == 200, "the engine is not free"


def test_health_answers_and_others_are_refused_while_the_only_slot_is_taken(
    start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, go_on = start_server(queue=1), threading.Event()
    count_tokens(server, monkeypatch, go_on)
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=LONG, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
        refused = httpx.post(f"{server.url}/v1/chat/completions", json=LONG, timeout=60)
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "overloaded"
        assert refused.headers["retry-after"]
        go_on.set()
    assert "genwerk_overload_refusals_total 1.0" in httpx.get(f"{server.url}/metrics", timeout=60).text


def test_texts_that_are_read_count_as_answers_in_progress(
    start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 48  # more than the threads that all short work shares
    server, came, go_on = start_server(queue=many), threading.Semaphore(0), threading.Event()

    def slow(self: Encoders, call: Any, user: str = "") -> dict[str, Any]:
        came.release()
        assert go_on.wait(60)
        return {"object": "list"}

    monkeypatch.setattr(Encoders, "embeddings", slow)
    asked = {"embeddings": {"model": "encoder", "input": "a"}, "chat/completions": LONG,
             "rerank": {"model": "encoder", "query": "a", "documents": ["b"]}}  # fmt: skip

    def ask(path: str) -> httpx.Response:
        return httpx.post(f"{server.url}/v1/{path}", json=asked[path], timeout=60)

    with ThreadPoolExecutor(many) as pool:
        slow_ones = [pool.submit(ask, "embeddings") for _ in range(many)]
        assert all(came.acquire(timeout=30) for _ in slow_ones)
        assert [ask(path).status_code for path in asked] == [429, 429, 429]
        assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
        go_on.set()
        assert [one.result(60).json() for one in slow_ones] == [{"object": "list"}] * many
    assert ask("rerank").status_code == 200 and server.app.state.admission.in_flight == 0


def test_two_at_once_get_what_they_get_alone(running: Any) -> None:
    def ask(seed: int, found: dict[int, str]) -> None:
        body = LONG | {"stream": False, "max_tokens": 24, "seed": seed}
        reply = httpx.post(f"{running.url}/v1/chat/completions", json=body, timeout=120).json()
        found[seed] = reply["choices"][0]["message"]["content"]

    alone: dict[int, str] = {}
    for seed in range(4):
        ask(seed, alone)
    together: dict[int, str] = {}
    threads = [threading.Thread(target=ask, args=(seed, together)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone and len(set(alone.values())) > 1


def test_an_error_in_mid_stream_reaches_the_client_as_an_event(
    start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server()

    def broken(request: Any) -> Any:
        raise RequestError("the model has no more", param="messages", code="context_length_exceeded")
        yield

    monkeypatch.setattr(server.assistant.deployment.engine, "stream", broken)
    response = httpx.post(f"{server.url}/v1/chat/completions", json=LONG, timeout=60)
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert json.loads(events[-2])["error"]["code"] == "context_length_exceeded" and events[-1] == "[DONE]"


class Source:
    """A producer that counts what was taken from it."""

    def __init__(self, length: int, fail: bool = False) -> None:
        self.made, self.length, self.fail = 0, length, fail
        self.closed = threading.Event()

    def __call__(self, stop: threading.Event) -> Generator[int, None, None]:
        try:
            for number in range(self.length):
                self.made += 1
                yield number
            if self.fail:
                raise ValueError("broken")
        finally:
            self.closed.set()


def test_relay_hands_over_everything_in_order_and_what_was_raised() -> None:
    async def collect(source: Source) -> list[int]:
        metrics = ServerMetrics()
        return [item async for item in relay(source, Admission(1, metrics), metrics)]

    assert asyncio.run(collect(Source(200))) == list(range(200))
    with pytest.raises(ValueError, match="broken"):
        asyncio.run(collect(Source(3, fail=True)))


def test_a_reader_that_stops_reading_stops_the_producer() -> None:
    source, metrics = Source(10**9), ServerMetrics()

    async def read_two() -> None:
        items = relay(source, Admission(1, metrics), metrics)
        assert [await anext(items), await anext(items)] == [0, 1]
        await items.aclose()

    asyncio.run(read_two())
    assert source.closed.wait(30)
    assert source.made <= AHEAD + 4
    assert metrics.value("genwerk_cancelled_total") == 1


def test_no_slot_is_lost_where_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = ServerMetrics()
    source, admission = Source(3), Admission(1, metrics)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def read() -> list[int]:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="new thread"):
                await anext(relay(source, admission, metrics))
        assert (admission.in_flight, source.made) == (0, 0)
        return [item async for item in relay(source, admission, metrics)]

    assert asyncio.run(read()) == [0, 1, 2]
