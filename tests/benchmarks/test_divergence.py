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
