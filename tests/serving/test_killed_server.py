"""A server that is killed: whoever was being answered gets an error of its own, and the next start serves."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import tiny_chain

from genwerk.core.workspace import Workspace
from genwerk.monitoring.answers import AnswerLog
from genwerk.serving.deployment import load_deployment
from genwerk.serving.trace import ANSWERS


@contextmanager
def serving(workspace: Workspace, name: str = tiny_chain.NAME) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "genwerk",
        "serve",
        name,
        "-w",
        str(workspace.root),
        "--port",
        str(port),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if "answers at" in line:
                break
        else:
            raise AssertionError("".join(said))
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait(30)


def ask(url: str, number: int, *, first: threading.Event | None = None, model: str = tiny_chain.NAME) -> str:
    """The last line of a streamed answer, or the name of the error that came instead."""
    body = {"model": model, "messages": [{"role": "user", "content": f"Write {number}"}], "grounded": False,
            "stream": True, "max_tokens": 300, "min_tokens": 300, "temperature": 1, "seed": number}  # fmt: skip
    try:
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as response:
            if first is not None:
                first.set()
            return [line for line in response.iter_lines() if line][-1]
    except httpx.TransportError as error:
        return type(error).__name__


@pytest.mark.slow
def test_a_killed_server_ends_its_answers_with_an_error_and_serves_after_a_restart(tiny_workspace: Workspace) -> None:
    first, ended = threading.Event(), dict[int, str]()

    def keep(url: str, number: int) -> None:
        ended[number] = ask(url, number, first=first)

    with serving(tiny_workspace) as (url, process):
        threads = [threading.Thread(target=keep, args=(url, number)) for number in range(12)]
        for thread in threads:
            thread.start()
        assert first.wait(60)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        assert len(ended) == len(threads), "a client waits for a server that is gone"
    failed = [line for line in ended.values() if line != "data: [DONE]"]
    assert failed and set(failed) <= {"RemoteProtocolError", "ReadError", "ConnectError"}, ended
    with serving(tiny_workspace) as (url, _):
        assert ask(url, 1) == "data: [DONE]"
    log = AnswerLog(tiny_workspace.root / ANSWERS)
    assert log.latest(1)[0].reply.tokens
    log.close()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_stopped_keeps_its_prefixes(tiny_workspace: Workspace, ending: signal.Signals) -> None:
    pinned, file = tiny_workspace.pinned(f"serving-{tiny_chain.NAME}"), tiny_workspace.root / "prefixes" / "stopping.kv"
    tiny_workspace.pin("serving-stopping", {"model": pinned["model"], "serve": {"keep_prefixes": True}})
    file.unlink(missing_ok=True)
    with serving(tiny_workspace, "stopping") as (url, process):
        assert ask(url, 1, model="stopping-base") == "data: [DONE]"
        process.send_signal(ending)
        process.wait(60)
    assert load_deployment(tiny_workspace, "stopping").engine.blocks.known()
