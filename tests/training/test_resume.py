"""Killed and started again, a run ends in the same bytes as one that was left alone."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import Inputs, run_distill, run_pretrain, run_sft

from genwerk.core import checkpoint
from genwerk.training.curve import LossCurve

SCRIPT = Path(__file__).with_name("tiny_runs.py")
RUNS: dict[str, Callable[..., Path]] = {"pretrain": run_pretrain, "sft": run_sft, "distill": run_distill}


class Struck(BaseException):
    """Stands for a kill inside this process."""


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def calm(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Hashes of all files of the undisturbed runs."""
    found = {}
    for kind in RUNS:
        root = tmp_path_factory.mktemp(kind)
        run = subprocess.run([sys.executable, str(SCRIPT), kind, str(inputs.root), str(root)], capture_output=True)
        assert run.returncode == 0, run.stderr.decode()
        found[kind] = hashes(root / "out")
    return found


@pytest.mark.parametrize("kind", RUNS)
def test_struck_at_any_step_it_goes_on_to_the_same_files(
    kind: str, inputs: Inputs, calm: dict[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(2)
    original = LossCurve.add
    for blow in range(5):

        def strike(curve: LossCurve, row: dict[str, float], at: int = chance.randrange(1, 8)) -> None:
            original(curve, row)
            if len(curve.rows) % 8 == at:
                raise Struck

        monkeypatch.setattr(LossCurve, "add", strike if blow < 4 else original)
        try:
            RUNS[kind](inputs, tmp_path)
        except Struck:
            shutil.rmtree(tmp_path / "out")
    assert hashes(tmp_path / "out") == calm[kind]


@pytest.mark.parametrize("kind", RUNS)
def test_a_damaged_checkpoint_costs_steps_but_changes_nothing(
    kind: str, inputs: Inputs, calm: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    RUNS[kind](inputs, tmp_path)
    newest = checkpoint._newest_first(tmp_path / "scratch" / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    shutil.rmtree(tmp_path / "out")
    RUNS[kind](inputs, tmp_path)
    assert hashes(tmp_path / "out") == calm[kind]


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_sigkill_at_random_moments_changes_nothing(
    kind: str, inputs: Inputs, calm: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    chance = random.Random(11)
    curve = tmp_path / "scratch" / "loss.jsonl"
    command = [sys.executable, str(SCRIPT), kind, str(inputs.root), str(tmp_path)]
    killed = 0
    for _ in range(3):
        before = _lines(curve)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rows = before + chance.randrange(1, 9)
        while process.poll() is None and _lines(curve) < rows:
            _wait(process, 0.005)
        _wait(process, chance.uniform(0, 0.03))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        shutil.rmtree(tmp_path / "out")
    assert killed >= 2
    subprocess.run(command, check=True, capture_output=True)
    assert hashes(tmp_path / "out") == calm[kind]


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
