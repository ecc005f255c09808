"""One tiny deployment for all serving tests, and servers around it on free loopback ports."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny_chain
import uvicorn
from openai import OpenAI
from starlette.applications import Starlette

from genwerk.core.workspace import Workspace
from genwerk.monitoring.answers import AnswerLog
from genwerk.serving.app import create_app
from genwerk.serving.assistant import Assistant
from genwerk.serving.auth import KeyStore
from genwerk.serving.deployment import Deployment, load_deployment
from genwerk.serving.trace import ANSWERS


@pytest.fixture(scope="session")
def tiny_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return tiny_chain.make_deployment(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_deployment(tiny_workspace: Workspace) -> Deployment:
    return load_deployment(tiny_workspace, tiny_chain.NAME)


@pytest.fixture(scope="session")
def answer_log(tiny_workspace: Workspace) -> Iterator[AnswerLog]:
    log = AnswerLog(tiny_workspace.root / ANSWERS)
    yield log
    log.close()


@pytest.fixture
def assistant(tiny_deployment: Deployment, answer_log: AnswerLog) -> Assistant:
    return Assistant(tiny_deployment, answer_log)


@dataclass
class Running:
    """A server that answers at `url`."""

    url: str
    app: Starlette
    assistant: Assistant

    def client(self, key: str = "none") -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)


class _Announced(uvicorn.Server):
    """Says when it listens, so that nobody has to wait by the clock."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture(scope="session")
def serve_app() -> Iterator[Callable[[Starlette], str]]:
    """Runs an application on a free port; its URL."""
    stops: list[Callable[[], None]] = []

    def start(app: Starlette) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        server = _Announced(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        assert server.ready.wait(30)

        def stop() -> None:
            server.should_exit = True
            thread.join(30)

        stops.append(stop)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for stop in stops:
        stop()


@pytest.fixture(scope="session")
def start_server(
    tiny_deployment: Deployment,
    answer_log: AnswerLog,
    serve_app: Callable[[Starlette], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Running]:
    def start(keys: Path | None = None, **options: Any) -> Running:
        assistant = Assistant(tiny_deployment, answer_log)
        app = create_app(assistant, keys=KeyStore(keys or tmp_path_factory.mktemp("keys") / "keys.json"), **options)
        return Running(serve_app(app), app, assistant)

    return start


@pytest.fixture(scope="session")
def running(start_server: Callable[..., Running]) -> Running:
    return start_server()


@pytest.fixture(scope="session")
def question(tiny_deployment: Deployment) -> str:
    """A question that this deployment answers."""
    quiet = Assistant(tiny_deployment, AnswerLog(Path(":memory:")))
    from genwerk.core.types import Message, Sampling
    from genwerk.serving.assistant import Ask

    for text in tiny_deployment.questions:
        reply = quiet.reply(Ask((Message("user", text),), Sampling(max_tokens=8)))
        if reply.citations and not reply.abstained:
            return text
    raise AssertionError("no example question is answered")
