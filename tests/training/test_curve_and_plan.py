"""The curve is cut back to the checkpoint, and a plan made once holds for the whole run."""

from __future__ import annotations

from pathlib import Path

import pytest

from genwerk.core.errors import TrainingError
from genwerk.training.curve import LossCurve, read_curve
from genwerk.training.plan import plan_steps


def test_going_on_forgets_the_rows_after_the_checkpoint(tmp_path: Path) -> None:
    curve = LossCurve(tmp_path / "loss.jsonl")
    for step in range(6):
        curve.add({"step": step, "loss": 1 / (step + 1)})
    again = LossCurve(tmp_path / "loss.jsonl", after=3)
    again.add({"step": 4, "loss": 0.5})
    again.finish(tmp_path / "out.jsonl")
    assert [row["step"] for row in read_curve(tmp_path / "out.jsonl")] == [0, 1, 2, 3, 4]
    assert read_curve(tmp_path / "out.jsonl")[-1]["loss"] == 0.5


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "loss.jsonl").write_text('{"step": 1, "loss": 0.1}\n{"step": 2, "lo')
    assert [row["step"] for row in read_curve(tmp_path / "loss.jsonl")] == [1]
    assert len(LossCurve(tmp_path / "loss.jsonl", after=5).rows) == 1


def test_without_a_checkpoint_the_curve_begins_anew(tmp_path: Path) -> None:
    LossCurve(tmp_path / "loss.jsonl").add({"step": 1, "loss": 3.0})
    assert LossCurve(tmp_path / "loss.jsonl").rows == []


def test_numbers_survive_exactly(tmp_path: Path) -> None:
    curve = LossCurve(tmp_path / "loss.jsonl")
    curve.add({"step": 1, "loss": 0.1 + 0.2})
    assert read_curve(tmp_path / "loss.jsonl")[0]["loss"] == 0.1 + 0.2


def test_steps_of_the_recipe_need_no_probe(tmp_path: Path) -> None:
    assert plan_steps(tmp_path, steps=12, minutes=None, probe=lambda: 1 / 0).steps == 12


def test_minutes_become_steps_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = plan_steps(tmp_path, steps=12, minutes=2.0, probe=lambda: 0.5)
    assert first.steps == 240
    assert "240 steps: 2 minutes at 0.50 s a step" in capsys.readouterr().err
    assert plan_steps(tmp_path, steps=12, minutes=2.0, probe=lambda: 1 / 0) == first


def test_minutes_too_few_for_one_step_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="too few"):
        plan_steps(tmp_path, steps=12, minutes=0.01, probe=lambda: 5.0)
