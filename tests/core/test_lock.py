"""One process at a time: what would break is two runs writing into one workspace, or one locked out by the dead."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chain_steps import ChainConfig, make_part

from genwerk.core.errors import WorkspaceError
from genwerk.core.lock import read_holder
from genwerk.core.workspace import Workspace

HOLD = """
import sys; from pathlib import Path; from genwerk.core.workspace import Workspace
with Workspace(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD_WITH_CHILD = """
import os, sys; from pathlib import Path; from genwerk.core.workspace import Workspace
with Workspace(Path(sys.argv[1])).lock():
    if os.fork() == 0:
        print("held", flush=True)  # said by the child, which has closed its copy of the lock by now
        sys.stdin.read()
        os._exit(0)
    sys.stdin.read()
"""
Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a script that holds the workspace at `tmp_path` until its input is closed."""
    started: list[subprocess.Popen[bytes]] = []

    def run(script: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", script, str(tmp_path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_told_who_holds_the_workspace(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD)
    with pytest.raises(WorkspaceError) as caught:
        Workspace(tmp_path).step(make_part, ChainConfig())
    assert f"process {holder.pid}" in caught.value.what and caught.value.where == str(tmp_path)
    assert f"kill {holder.pid}" in caught.value.remedy
    assert Workspace(tmp_path).artifacts() == []


def test_what_is_made_is_found_while_another_process_works(tmp_path: Path, start: Start) -> None:
    made = Workspace(tmp_path).step(make_part, ChainConfig())
    start(HOLD)
    assert Workspace(tmp_path).step(make_part, ChainConfig()) == made


def test_a_second_process_may_wait(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD)
    made: list[str] = []
    workspace = Workspace(tmp_path, wait=math.inf)
    waiting = threading.Thread(target=lambda: made.append(workspace.step(make_part, ChainConfig()).kind))
    waiting.start()
    assert made == []
    holder.communicate()
    waiting.join(60)
    assert made == ["make_part"]


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert Workspace(tmp_path).step(make_part, ChainConfig()).kind == "make_part"


def test_an_orphan_of_a_killed_process_does_not_keep_its_lock(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD_WITH_CHILD)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with Workspace(tmp_path).lock():
        assert read_holder(tmp_path / "lock").pid == os.getpid()


def test_the_lock_may_be_nested_and_is_free_afterwards(tmp_path: Path) -> None:
    first, second = Workspace(tmp_path), Workspace(tmp_path)
    with first.lock():
        with first.lock():
            first.step(make_part, ChainConfig())
        with pytest.raises(WorkspaceError, match="this very process"), second.lock():
            pass
    with second.lock():
        second.step(make_part, ChainConfig(name="b"))


def test_threads_take_turns(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    made: list[str] = []

    def make(number: int) -> None:
        made.append(workspace.step(make_part, ChainConfig(name=str(number % 2))).id)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 6 and len(set(made)) == 2
    assert [event.kind for event in workspace.events.read("step.made")] == ["step.made"] * 2


def test_a_spoilt_lock_file_still_locks(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"\xff\x00 not json")
    with Workspace(tmp_path).lock():
        assert read_holder(tmp_path / "lock").pid == os.getpid()
    assert str(read_holder(tmp_path / "nothing")) == "another process"
