"""Parsers of packed and drawn formats run in a process of their own: none can hang, crash or exhaust the run.

    GuardedReader().read(path, ".pdf", options) -> list of RawDocument | Unreadable

The process is started with the first such file and kept for the next. A file that takes longer than
`options.max_seconds` costs that process and is named in the ledger with how far it came; so does a parser that dies.
Memory is limited to 2 GB and twenty times `max_bytes`. It ends with the process that started it, however that ends.

Chosen:   a process reads one file at a time; several of them are `read_ahead`.
Left out: a barrier against code that runs inside the parser; it has the rights of the user.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from threading import Lock, Thread

from genwerk.core.errors import GenwerkError
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable, damaged
from genwerk.data.readers import READERS

_START_SECONDS = 120.0
_MEMORY, _MEMORY_PER_BYTE = 2_000_000_000, 20
_READY = "ready"


class GuardedReader:
    """Reads files by READERS in another process; `close` ends it, and `stop` does from another thread, for good."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def read(self, path: Path, suffix: str, options: ReadOptions) -> list[RawDocument | Unreadable]:
        """All that is in the file. Raises OSError and GenwerkError as the reader does."""
        if os.name != "posix":
            return list(READERS[suffix](path, options))
        connection = self._connected()
        connection.send((str(path.absolute()), suffix, replace(options, tick=ReadOptions().tick)))
        deadline = time.monotonic() + options.max_seconds
        progress = ""
        try:
            while connection.poll(max(0.0, deadline - time.monotonic())):
                answer = connection.recv()
                if isinstance(answer, list):
                    return answer
                if isinstance(answer, BaseException):
                    raise answer
                progress = answer
                options.tick(progress)
        except EOFError:
            code = self.close()
            return [
                Unreadable("parser stopped", f"the parser ended with code {code}{_at(progress)}; the file is left out")
            ]
        self.close()
        remedy = "split it, or raise data.max_file_seconds"
        return [Unreadable("too slow", f"not read within {options.max_seconds:,.0f} seconds{_at(progress)}; {remedy}")]

    def close(self) -> int:
        """End the process, if there is one; its exit code."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection:
            connection.close()
        if process is None:
            return 0
        process.kill() if process.poll() is None else None
        return process.wait()

    def stop(self) -> None:
        """End the process, and let none be started again. Who reads in it is told that the parser stopped."""
        with self._lock:
            self._stopped = True
            process = self._process
        if process:
            process.kill()
            process.wait()

    def _connected(self) -> Connection:
        if self._connection is not None and self._process is not None and self._process.poll() is None:
            return self._connection
        self.close()
        mine, other = Pipe()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", "genwerk.data.guarded", str(other.fileno())]
        with closing(other), self._lock:
            if self._stopped:
                raise OSError("the process that reads documents was stopped")
            # Its own group: a terminal sends Ctrl-C to whole groups, and it is for who started this, which ends it.
            self._process = subprocess.Popen(
                command, pass_fds=[other.fileno()], env=environment, stdin=subprocess.DEVNULL, process_group=0
            )
            self._connection = mine
        with suppress(EOFError):
            if mine.poll(_START_SECONDS) and mine.recv() == _READY:
                return mine
        self.close()
        raise OSError("the process that reads documents did not start")


def _at(progress: str) -> str:
    return f", at {progress}" if progress else ""


def serve(connection: Connection) -> None:
    """Answer requests until the other side closes."""
    Thread(target=_end_with, args=(connection.fileno(),), daemon=True).start()
    connection.send(_READY)
    while True:
        try:
            path, suffix, options = connection.recv()
        except EOFError:
            return
        _limit_memory(options)
        told = replace(options, tick=connection.send)
        answer: list[RawDocument | Unreadable] | Exception
        try:
            answer = list(READERS[suffix](Path(path), told))
        except (OSError, GenwerkError) as error:
            answer = error
        except MemoryError as error:
            answer = [damaged("file", error)]
        connection.send(answer)


def _end_with(descriptor: int) -> None:
    """End this process with the other side, though a parser may hang."""
    poll = select.poll()
    poll.register(descriptor, 0)  # says no more than that it was closed
    poll.poll()
    os._exit(1)


def _limit_memory(options: ReadOptions) -> None:
    import resource

    wanted = _MEMORY + _MEMORY_PER_BYTE * options.max_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
