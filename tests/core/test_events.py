"""The event log: what would break is an event lost, doubled or read wrongly after a kill."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fault_points import faults
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.errors import WorkspaceError
from genwerk.core.events import EventLog

FIELDS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9) | st.booleans(), max_size=3)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("ab"), FIELDS), min_size=1, max_size=6))
def test_what_was_emitted_is_read_in_order(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, dict[str, object]]]
) -> None:
    log = EventLog(tmp_path_factory.mktemp("log"), run="r1")
    for kind, fields in events:
        log.emit(kind, **{f"f{key}": value for key, value in fields.items()})
    wanted = [(kind, {f"f{key}": value for key, value in fields.items()}) for kind, fields in events]
    assert [(event.kind, dict(event.fields)) for event in log.read()] == wanted
    assert [(e.kind, dict(e.fields)) for e in log.read("a")] == [item for item in wanted if item[0] == "a"]
    assert [(e.kind, dict(e.fields)) for e in log.read(limit=2)] == wanted[-2:]
    assert all(event.run == "r1" and event.time.endswith("+00:00") for event in log.read())


@settings(max_examples=60)
@given(cut=st.integers(0, 400), read_between=st.booleans())
def test_cut_off_anywhere_the_rest_is_read_and_writing_goes_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int, read_between: bool
) -> None:
    log = EventLog(tmp_path_factory.mktemp("log"), run="r")
    for number in range(3):
        log.emit("e", number=number)
    if read_between:
        assert len(log.read()) == 3
    data = log.path.read_bytes()
    kept = data[: min(cut, len(data))]
    log.path.write_bytes(kept)
    whole = kept.count(b"\n")
    assert [event.fields["number"] for event in log.read()] == list(range(whole))
    log.emit("e", number=9)
    complete = 1 if kept.split(b"\n")[-1] and _is_json(kept.split(b"\n")[-1]) else 0
    assert [event.fields["number"] for event in log.read()] == [*range(whole + complete), 9]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_a_damaged_database_is_rebuilt_from_the_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = EventLog(tmp_path)
    log.emit("a", n=1)
    log.sync()
    (tmp_path / "events.sqlite").write_bytes(b"not a database at all" * 200)
    assert [event.fields["n"] for event in log.read()] == [1]
    assert "rebuilding" in capsys.readouterr().err


def test_several_processes_write_whole_lines(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from genwerk.core.events import EventLog\n"
        "log = EventLog(Path(sys.argv[1]), run=sys.argv[2])\n"
        "for n in range(200): log.emit('e', n=n, pad='x' * n)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(w)]) for w in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    log = EventLog(tmp_path)
    for writer in range(3):
        assert [event.fields["n"] for event in log.read(run=str(writer))] == list(range(200))


def test_bound_fields_are_added(tmp_path: Path) -> None:
    log = EventLog(tmp_path).bind(step="s").bind(epoch=1)
    log.emit("e", loss=2.5)
    assert dict(log.read()[0].fields) == {"step": "s", "epoch": 1, "loss": 2.5}


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    def no_space() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = EventLog(tmp_path)
    log.emit("a")
    before = log.path.read_bytes()
    with faults(1, no_space, ("write",)), pytest.raises(WorkspaceError, match="disk is full"):
        log.emit("b")
    assert log.path.read_bytes() == before


def test_nothing_was_written_nothing_is_read(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "none")
    log.sync()
    assert log.read() == [] and not (tmp_path / "none").exists()
