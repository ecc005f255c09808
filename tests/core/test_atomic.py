"""Atomic files: what would break is a reader that finds half a file."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from pathlib import Path

import pytest
from fault_points import faults
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.atomic import disk_full, fsync_tree, is_disk_full, write_bytes, write_json, write_text
from genwerk.core.errors import DataError, WorkspaceError


def no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@given(old=st.binary(max_size=64), new=st.binary(max_size=64), at=st.integers(1, 4))
def test_whatever_fails_the_old_or_the_new_file_is_there_and_no_rest(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes, at: int
) -> None:
    path = tmp_path_factory.mktemp("atomic") / "file.bin"
    write_bytes(path, old)
    with faults(at, no_space, ("fsync", "replace")):
        try:
            write_bytes(path, new)
        except WorkspaceError as error:
            assert "disk is full" in error.what and error.where == str(path) and error.remedy
            assert path.read_bytes() in (old, new)  # new when only the last fsync, of the folder, failed
        else:
            assert path.read_bytes() == new
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    write_text(tmp_path / "a.txt", "old")
    with faults(1, interrupt, ("replace",)), pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.txt", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_missing_folder_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError) as caught:
        write_text(tmp_path / "gone" / "a.txt", "x")
    assert str(tmp_path / "gone" / "a.txt") in caught.value.where and caught.value.remedy


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Zeile\r\nnächste\n")
    assert (tmp_path / "a.txt").read_bytes() == "Zeile\r\nnächste\n".encode()


def test_json_is_strict_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": "ä", "a": [1]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.endswith("\n") and "ä" in text and json.loads(text) == {"b": "ä", "a": [1]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"b": "ä", "a": [1]}


def test_a_full_disk_is_recognised_in_any_library_s_words() -> None:
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = OSError(errno.EDQUOT, "quota")
    assert is_disk_full(wrapped)
    assert is_disk_full(sqlite3.OperationalError("database or disk is full"))
    assert is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_disk_full(OSError(errno.EACCES, "denied"))
    assert not is_disk_full(DataError("a text that says: no space left on device"))
    assert "free some space" in disk_full(Path("/work/x")).remedy.lower()


def test_a_real_full_device_is_recognised() -> None:
    with pytest.raises(OSError) as caught, open("/dev/full", "wb", buffering=0) as device:
        device.write(b"x")
    assert is_disk_full(caught.value)


def test_every_file_and_folder_of_a_tree_is_synced(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.txt").write_text("x")
    (tmp_path / "d.txt").write_text("x")
    with faults(0, no_space, ("fsync",)) as counted:
        fsync_tree(tmp_path)
    assert counted.count == 5  # two files, three folders
