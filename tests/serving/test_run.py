"""Invariant: however a server ends, its engine is closed, once, before a signal ends the process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from genwerk.core.errors import ConfigError
from genwerk.core.workspace import Workspace
from genwerk.serving import run
from genwerk.serving.deployment import Deployment
from genwerk.serving.run import serve, serve_deployment


@pytest.fixture
def told(tiny_deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What became of the engine and of this process, in order."""
    found: list[str] = []
    for name in ("save_cache", "close"):
        monkeypatch.setattr(tiny_deployment.engine, name, lambda name=name: found.append(name))
    before = signal.signal(signal.SIGTERM, lambda *_: found.append("ended"))
    yield found
    signal.signal(signal.SIGTERM, before)


def test_a_signal_closes_the_engine_before_it_ends_the_process(
    tiny_deployment: Deployment, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(server: uvicorn.Server) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(uvicorn.Server, "main_loop", stop)
    serve(tiny_deployment, port=0)
    assert told == ["save_cache", "close", "ended"]


def test_a_server_that_cannot_start_closes_the_engine(
    tiny_deployment: Deployment, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "create_app", lambda *_, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        serve(tiny_deployment, port=0)
    assert told == ["close"]


def test_an_engine_that_cannot_keep_its_cache_is_closed_all_the_same(
    tiny_deployment: Deployment, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(server: uvicorn.Server) -> None:
        """Nobody asks."""

    monkeypatch.setattr(uvicorn.Server, "main_loop", stop)
    monkeypatch.setattr(tiny_deployment.engine, "save_cache", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        serve(tiny_deployment, port=0)
    assert told == ["close"]


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_replicas_are_told_where_their_server_answers(
    host: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = dict[str, str]()

    def load(*_: object, **options: str) -> Deployment:
        told.update(options)
        raise ConfigError("nothing to serve")

    monkeypatch.setattr(run, "load_deployment", load)
    with pytest.raises(ConfigError, match="nothing to serve"):
        serve_deployment(Workspace(tmp_path), "handbook", host=host, port=0, replicas=2)
    address, _, port = told["server"].rpartition(":")
    assert address == shown and int(port) > 0
