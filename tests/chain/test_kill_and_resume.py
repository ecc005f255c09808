"""Killed at ten random moments and started again, a run ends in the same artifacts as one that was left alone."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genwerk.core.workspace import Workspace

CLOCKED = {"timings.json", "report.html"}  # the two files that may tell the time


def start(recipe: Path, workspace: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "genwerk", "run", str(recipe), "--workspace", str(workspace)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def contents(workspace: Path) -> dict[str, dict[str, str]]:
    """Every artifact by kind and id, with the hash of each file that does not tell the time."""
    return {
        f"{item.kind}/{item.id}": {name: sha for name, sha in item.files.items() if name not in CLOCKED}
        for item in Workspace(workspace).artifacts()
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_kills_change_nothing(tiny_recipe: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    undisturbed = start(tiny_recipe, tmp_path / "calm")
    _, errors = undisturbed.communicate()
    assert undisturbed.returncode == 0, errors.decode()
    whole_run = time.monotonic() - begun

    chance = random.Random(7)
    for _ in range(10):
        process = start(tiny_recipe, tmp_path / "killed")
        try:
            process.communicate(timeout=chance.uniform(0.2, 0.7) * whole_run)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        else:  # done before the blow: what it made must be right, and the next life starts from nothing
            assert contents(tmp_path / "killed") == contents(tmp_path / "calm")
            shutil.rmtree(tmp_path / "killed")
    last = start(tiny_recipe, tmp_path / "killed")
    _, errors = last.communicate()
    assert last.returncode == 0, errors.decode()

    calm, killed = contents(tmp_path / "calm"), contents(tmp_path / "killed")
    assert calm.keys() == killed.keys()
    assert calm == killed
    for item in Workspace(tmp_path / "killed").artifacts():
        assert not Workspace(tmp_path / "killed").verify(item)
    assert not list((tmp_path / "killed" / "scratch").iterdir())
