"""benchmarks/divergence.py: a form that it does not know is named, and nothing is measured."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "divergence.py"


def test_forms_that_there_are_not_are_named_beside_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["divergence.py", "--forms", "int4-gtpq,int8"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    said = capsys.readouterr().err
    assert "unknown forms: int4-gtpq;" in said and "int4-gptq" in said and "float32" in said


@pytest.mark.slow
def test_a_form_is_measured_with_both_caches(
    smollm2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"Line {number} says that water boils at a hundred degrees." for number in range(40)))
    asked = ["--model", str(smollm2_dir), "--text", str(text), "--windows", "1", "--length", "48", "--forms", "int8"]
    monkeypatch.setattr(sys, "argv", ["divergence.py", "--shipped", *asked])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("perplexity")[0].strip() for line in lines[1:]] == [
        "float32", "as shipped, int8", "as shipped, int8, cache int8",
    ]  # fmt: skip
    assert all(0.0 < float(line.split("KL ")[1].split()[0]) < 0.05 for line in lines[2:])
