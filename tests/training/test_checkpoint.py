"""Checkpoints: whole or not there, the newest good one is found, damage is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genwerk.core import checkpoint
from genwerk.core.checkpoint import load_latest, save_checkpoint


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = {"weights": [torch.randn(3, 4), torch.randn(2).bfloat16()], "lr": 0.1, "name": "x", "nested": {"n": 3}}
    save_checkpoint(tmp_path, 7, state)
    found = load_latest(tmp_path)
    assert found is not None and found.step == 7
    assert all(torch.equal(a, b) for a, b in zip(found.state["weights"], state["weights"], strict=True))
    assert {key: found.state[key] for key in ("lr", "name", "nested")} == {"lr": 0.1, "name": "x", "nested": {"n": 3}}


def test_nothing_there_is_no_error(tmp_path: Path) -> None:
    assert load_latest(tmp_path / "absent") is None


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9):
        save_checkpoint(tmp_path, step, {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000009.ckpt", "step-000000010.ckpt"]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:-9] + b"x" + data[-8:]])
def test_a_damaged_newest_is_said_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: object
) -> None:
    save_checkpoint(tmp_path, 1, {"step": 1})
    newest = save_checkpoint(tmp_path, 2, {"step": 2})
    newest.write_bytes(damage(newest.read_bytes()))  # type: ignore[operator]
    found = load_latest(tmp_path)
    assert found is not None and found.step == 1
    assert "step-000000002.ckpt is damaged" in capsys.readouterr().err


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 1, {"path": tmp_path})  # a Path is an object with code, not a number
    assert load_latest(tmp_path) is None


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 1, {"step": 1})

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with pytest.raises(OSError, match="space"):
        save_checkpoint(tmp_path, 2, {"step": 2})
    found = load_latest(tmp_path)
    assert found is not None and found.step == 1
