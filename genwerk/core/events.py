"""What happened, in order: one JSON line per event, and a SQLite copy to ask questions of.

The JSON lines are the truth: one locked append per event, so several processes may write and `kill -9` can spoil at
most the last line, which the reader skips and says so. The SQLite file is derived, filled up when read, and rebuilt
whenever it is lost or damaged.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genwerk.core.atomic import disk_full, explained, is_disk_full
from genwerk.core.errors import WorkspaceError
from genwerk.core.progress import say

_SCHEMA = """
create table if not exists events (id integer primary key, time text, kind text, run text, fields text);
create index if not exists events_kind on events (kind, id);
create index if not exists events_run on events (run, id);
create table if not exists position (one integer primary key check (one = 1), offset integer);
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `time` is ISO 8601 in UTC, `run` the process that said it."""

    time: str
    kind: str
    run: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class EventLog:
    """Append events to `directory/events.jsonl`; `read` asks `directory/events.sqlite`."""

    def __init__(self, directory: Path, *, run: str | None = None, bound: Mapping[str, Any] | None = None) -> None:
        self.path = Path(directory) / "events.jsonl"
        self._database = Path(directory) / "events.sqlite"
        self.run = run or f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        self._bound = dict(bound or {})

    def bind(self, **fields: Any) -> EventLog:
        """The same log, with these fields added to each event."""
        return EventLog(self.path.parent, run=self.run, bound={**self._bound, **fields})

    def emit(self, kind: str, **fields: Any) -> None:
        """Append one event; fields must be JSON. Raises WorkspaceError (disk full), the log then is as before."""
        record = {"time": now(), "kind": kind, "run": self.run, "fields": {**self._bound, **fields}}
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _append(self.path, line)

    def read(self, kind: str | None = None, limit: int | None = None, *, run: str | None = None) -> list[Event]:
        """Events in the order they were written; `limit` keeps the latest."""
        if not self.path.exists():
            return []
        where = [f"{name} = ?" for name, value in (("kind", kind), ("run", run)) if value is not None]
        values: list[Any] = [value for value in (kind, run) if value is not None]
        query = "select time, kind, run, fields from events"
        query += f" where {' and '.join(where)}" if where else ""
        query += " order by id desc limit ?"
        values.append(-1 if limit is None else limit)
        with closing(self._filled()) as database:
            rows = database.execute(query, values).fetchall()
        return [Event(time, name, of_run, json.loads(fields)) for time, name, of_run, fields in reversed(rows)]

    def sync(self) -> None:
        """Bring the SQLite copy up to the JSON lines, for other programs that read it."""
        if self.path.exists():
            self._filled().close()

    def _filled(self) -> sqlite3.Connection:
        try:
            return self._fill()
        except sqlite3.OperationalError as error:
            if is_disk_full(error):
                raise disk_full(self._database) from error
            remedy = "Check that the folder may be written; the events themselves are safe in events.jsonl."
            raise WorkspaceError(f"events cannot be read: {error}", where=str(self._database), remedy=remedy) from error
        except sqlite3.DatabaseError as error:
            say(f"{self._database} is damaged ({error}); rebuilding it from {self.path.name}")
            for suffix in ("", "-journal", "-wal", "-shm"):
                Path(f"{self._database}{suffix}").unlink(missing_ok=True)
            return self._fill()

    def _fill(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._database, timeout=30, isolation_level=None)
        try:
            database.execute("pragma synchronous = off")  # derived: rebuilt from the JSON lines when lost
            database.executescript(_SCHEMA)
            database.execute("begin immediate")
            row = database.execute("select offset from position").fetchone()
            offset = int(row[0]) if row else 0
            if offset > self.path.stat().st_size:  # the log was cut or replaced: what we hold is of another log
                database.execute("delete from events")
                offset = 0
            for end, record in _lines(self.path, offset):
                offset = end
                if record is not None:
                    fields = json.dumps(record.get("fields", {}), ensure_ascii=False)
                    values = (record.get("time", ""), record.get("kind", ""), record.get("run", ""), fields)
                    database.execute("insert into events (time, kind, run, fields) values (?, ?, ?, ?)", values)
            database.execute("insert or replace into position values (1, ?)", (offset,))
            database.execute("commit")
        except BaseException:
            database.close()
            raise
        return database


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # closes a line that a killed process left half-written
        try:
            written = 0
            while written < len(line):
                written += os.write(descriptor, line[written:])
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _lines(path: Path, offset: int) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Each complete line from `offset` on: (offset after it, its record or None when it is spoilt)."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                say(f"{path}: the last event was cut off while it was written; it is left out")
                return
            offset += len(line)
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                say(f"{path}: the event before byte {offset} is spoilt (cut off by a kill); it is left out")
                record = None
            yield offset, record
