"""An engine in a process of its own, asked one thing at a time; see workers/protocol.py for the lines between."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from workers.protocol import Answer, Ask, Hello, Settings, UnsupportedError

__all__ = ["Contestant", "FailedError"]

WORKERS = Path(__file__).parent / "workers"
START_SECONDS, ANSWER_SECONDS = 900.0, 900.0


class FailedError(Exception):
    """The engine cannot be installed or started, stopped, or said that something went wrong: it is left out."""


class Contestant:
    """title: what it is called in tables. Raises FailedError where it does not start; use it as a context."""

    def __init__(self, title: str, python: str, worker: str, settings: Settings) -> None:
        self.title = title
        self._words = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(WORKERS / worker), json.dumps(asdict(settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            env=_environment(python, settings.threads),
        )
        try:
            self.hello = Hello(**self._read(START_SECONDS))
        except BaseException:
            self.close()
            raise

    def ask(self, ask: Ask) -> Answer:
        """Raises UnsupportedError for what this engine does not do, FailedError for all that is wrong."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asdict(ask)) + "\n")
            self._process.stdin.flush()
        return Answer(**self._read(ANSWER_SECONDS))

    def resident_mb(self) -> float:
        """Memory that its process and the processes it started hold now, in MB of 10^6 bytes."""
        return sum(_resident(process) for process in _family(self._process.pid)) / 1e6

    def close(self) -> None:
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                self._process.kill()
                raise FailedError(f"{self.title} said nothing for {seconds:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise FailedError(f"{self.title} stopped with exit status {code}; its last words: {self._last_words()}")
        reply: dict[str, Any] = json.loads(line)
        if "unsupported" in reply:
            raise UnsupportedError(reply["unsupported"])
        if "error" in reply:
            raise FailedError(f"{self.title}: {reply['error']}")
        return reply

    def _last_words(self) -> str:
        self._words.seek(0)
        return " | ".join(self._words.read().strip().splitlines()[-3:]) or "none"


def _environment(python: str, threads: int) -> dict[str, str]:
    """As many threads for every library; a peer must not find our packages."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    return environment


def _family(first: int) -> set[int]:
    """A process and all below it."""
    parents = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(place.parent.name)] = int(place.read_text().rpartition(")")[2].split()[1])
    family, size = {first}, 0
    while len(family) > size:
        size = len(family)
        family |= {process for process, parent in parents.items() if parent in family}
    return family


def _resident(process: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
