"""One process at a time, by `flock`: the kernel frees the lock of a dead process at once, so nothing is ever stale."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.atomic import explained
from genwerk.core.errors import GenwerkError
from genwerk.core.events import now
from genwerk.core.progress import say

_POLL_SECONDS = 0.05
_HELD: set[int] = set()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: process id, command line, since when (UTC). `pid` is 0 when it could not be read."""

    pid: int
    command: str
    since: str

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        mine = " (this very process)" if self.pid == os.getpid() else ""
        return f"process {self.pid}{mine}, `{self.command}`, since {self.since}"


@contextmanager
def hold(path: Path, *, wait: float, busy: Callable[[Holder], GenwerkError]) -> Iterator[None]:
    """Hold the lock file at `path` during the block.

    wait   seconds to wait for another holder, 0 to give up at once, `math.inf` to wait for ever.
    busy   makes the error to raise when it stays held.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _try(descriptor, path):
            _wait(descriptor, path, wait, busy)
        _HELD.add(descriptor)
        _sign(descriptor, path)
        yield
    finally:
        _HELD.discard(descriptor)
        os.close(descriptor)


def _try(descriptor: int, path: Path) -> bool:
    with explained(path):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _wait(descriptor: int, path: Path, wait: float, busy: Callable[[Holder], GenwerkError]) -> None:
    deadline = time.monotonic() + wait
    told = False
    while time.monotonic() < deadline:
        if not told:
            say(f"waiting for {read_holder(path)} to finish with {path.parent}")
            told = True
        time.sleep(_POLL_SECONDS)
        if _try(descriptor, path):
            return
    raise busy(read_holder(path))


def _sign(descriptor: int, path: Path) -> None:
    command = " ".join(sys.argv)[:200] or "python"
    data = json.dumps({"pid": os.getpid(), "command": command, "since": now()[:19]}).encode()
    with explained(path):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)


def read_holder(path: Path) -> Holder:
    """What the lock file says; a reader that comes in the moment between locking and signing looks again."""
    for _ in range(5):
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_text(encoding="utf-8"))
            holder = Holder(int(record["pid"]), str(record["command"]), str(record["since"]))
            if _alive(holder.pid):
                return holder
        time.sleep(_POLL_SECONDS / 5)
    return Holder(0, "", "")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _forget_in_child() -> None:
    """A forked worker must not keep its dead parent's lock: it closes its copy."""
    for descriptor in _HELD:
        with suppress(OSError):
            os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_forget_in_child)
