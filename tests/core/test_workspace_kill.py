"""Killed at any moment: what would break is an artifact half-written, lost, or different from an undisturbed one."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chain_steps import ChainConfig, make_chain
from fault_points import faults

from genwerk.core.artifact import read_artifact
from genwerk.core.errors import WorkspaceError
from genwerk.core.workspace import Step, Workspace

SCRIPT = Path(__file__).with_name("chain_steps.py")


class StopConfig(ChainConfig):
    stop: str = ""


def stop_half_way(config: StopConfig, step: Step) -> dict[str, float | int | str]:
    """Writes half of its files, a checkpoint, and stops in the way it is asked to, if the checkpoint is new."""
    mark = step.scratch / "half"
    (step.out / "one.bin").write_bytes(b"1" * 1000)
    if not mark.exists():
        mark.write_text("done")
        if config.stop == "interrupt":
            raise KeyboardInterrupt
        if config.stop == "device":
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"x")
        if config.stop == "sqlite":
            database = sqlite3.connect(step.out / "index.sqlite")
            database.execute("pragma max_page_count = 4")
            database.execute("create table t (x)")
            database.execute("insert into t values (zeroblob(100000))")
    (step.out / "two.bin").write_bytes(b"2" * 1000)
    return {"resumed": int(mark.exists())}


def assert_absent_or_complete(root: Path) -> None:
    workspace = Workspace(root)
    for path in root.glob("artifacts/*/*"):
        assert workspace.verify(read_artifact(path)) == []


def hashes(root: Path) -> dict[str, str]:
    return {artifact.id: artifact.content_sha256 for artifact in Workspace(root).artifacts()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("undisturbed")
    make_chain(root)
    return hashes(root)


def test_killed_before_each_change_of_the_disk(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """A child is killed before its 1st, 2nd, 3rd … change of the disk; the next run ends as if nothing had been."""
    with faults(0, lambda: None) as counted:
        make_chain(tmp_path / "counted")
    resumed = 0
    for moment in range(1, counted.count + 1):
        root = tmp_path / str(moment)
        child = os.fork()
        if child == 0:
            try:
                with faults(moment, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                    make_chain(root)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, moment
        assert_absent_or_complete(root)
        make_chain(root)
        assert hashes(root) == undisturbed, moment
        assert list((root / "staging").iterdir()) == [] and list((root / "scratch").iterdir()) == [], moment
        resumed += bool(Workspace(root).events.read("resumed"))
        shutil.rmtree(root)
    assert counted.count > 40 and resumed > 5


def test_killed_at_ten_random_moments(tmp_path: Path) -> None:
    """A process that makes artifacts is killed over and over while it works, and still ends with the same hashes."""
    size = ["6", "6", "400000"]
    make_chain(tmp_path / "undisturbed", steps=6, parts=6, size=400_000)
    random_moment = random.Random(0)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "killed"), *size]
    killed, longest = 0, 0.25
    while killed < 10:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        started = time.monotonic()
        try:
            process.wait(timeout=random_moment.uniform(0, longest))
            longest = (time.monotonic() - started) / 2  # it was faster than the clock: aim earlier, begin again
            process.stdout.close()
            shutil.rmtree(tmp_path / "killed")
            continue
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        assert_absent_or_complete(tmp_path / "killed")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert sorted(hashes(tmp_path / "killed").values()) == sorted(hashes(tmp_path / "undisturbed").values())
    assert list((tmp_path / "killed" / "staging").iterdir()) == []


def test_a_full_disk_at_each_change_is_one_clear_error_and_loses_nothing(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    writing = ("write", "pwrite", "fsync", "mkdir", "rename", "replace")

    def no_space() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with faults(0, no_space, writing) as counted:
        make_chain(tmp_path / "counted")
    refused = 0
    for moment in range(1, counted.count + 1):
        root = tmp_path / str(moment)
        try:
            with faults(moment, no_space, writing):
                make_chain(root)
        except WorkspaceError as error:
            refused += 1
            assert "disk is full" in error.what and str(root) in error.where and "genwerk gc" in error.remedy
        assert_absent_or_complete(root)
        make_chain(root)
        assert hashes(root) == undisturbed, moment
        shutil.rmtree(root)
    assert refused > 20  # the others hit only a note about a step, which is said aloud and goes on


@pytest.mark.parametrize("stop", ["device", "sqlite"])
def test_a_full_disk_inside_a_step(tmp_path: Path, stop: str) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(WorkspaceError) as caught:
        workspace.step(stop_half_way, StopConfig(stop=stop))
    assert "disk is full" in caught.value.what and str(tmp_path) in caught.value.where and caught.value.remedy
    assert list((tmp_path / "staging").iterdir()) == []
    assert workspace.events.read("step.failed")[0].fields["error"]
    assert workspace.step(stop_half_way, StopConfig(stop=stop)).metrics["resumed"] == 1


def test_an_interrupt_leaves_nothing_half_written_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        workspace.step(stop_half_way, StopConfig(stop="interrupt"))
    assert workspace.artifacts() == [] and list((tmp_path / "staging").iterdir()) == []
    assert len(list((tmp_path / "scratch").iterdir())) == 1
    assert workspace.step(stop_half_way, StopConfig(stop="interrupt")).metrics["resumed"] == 1
    assert list((tmp_path / "scratch").iterdir()) == []


def test_collecting_killed_at_each_change_leaves_whole_artifacts_with_their_parents(tmp_path: Path) -> None:
    make_chain(tmp_path / "made", steps=4)
    for moment in range(1, 200):
        root = tmp_path / str(moment)
        shutil.copytree(tmp_path / "made", root)
        child = os.fork()
        if child == 0:
            try:
                with faults(moment, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                    Workspace(root).collect_garbage()
            finally:
                os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
        assert_absent_or_complete(root)
        workspace = Workspace(root)
        assert all(workspace.lineage(artifact) for artifact in workspace.artifacts())
        shutil.rmtree(root)
        if not killed:
            return
    pytest.fail("collecting never came to an end")


@pytest.mark.parametrize("damage", ["missing", "shorter", "record", "record_gone"])
def test_a_damaged_artifact_is_said_aloud_and_made_again(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = make_chain(tmp_path)
    before = hashes(tmp_path)
    victim = chain[1].path
    file = {"missing": "part-0/0.bin", "shorter": "part-0/0.bin"}.get(damage, "artifact.json")
    if damage in ("missing", "record_gone"):
        (victim / file).unlink()
    else:
        (victim / file).write_bytes((victim / file).read_bytes()[:-7])
    capsys.readouterr()
    again = make_chain(tmp_path)
    said = capsys.readouterr().err
    assert said.count("is damaged") == 1 and Path(file).name in said and "making it again" in said
    assert hashes(tmp_path) == before and Workspace(tmp_path).verify(again[1]) == []
    assert list((tmp_path / "staging").iterdir()) == []


def test_verify_reads_every_byte(tmp_path: Path) -> None:
    artifact = make_chain(tmp_path, steps=1)[0]
    workspace = Workspace(tmp_path)
    data = bytearray((artifact.path / "part-0" / "0.bin").read_bytes())
    data[3] ^= 1
    (artifact.path / "part-0" / "0.bin").write_bytes(data)
    (artifact.path / "part-1" / "1.bin").unlink()
    (artifact.path / "extra.txt").write_text("x")
    problems = " | ".join(sorted(workspace.verify(artifact)))
    assert (
        "0.bin has changed" in problems and "1.bin is missing" in problems and "extra.txt does not belong" in problems
    )
    assert len(workspace.verify(artifact)) == 3
