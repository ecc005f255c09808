"""From lines, molecules and scores to a measured generator and its samples, by the commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genwerk import cli
from genwerk.core.errors import ConfigError, ModelError
from genwerk.core.workspace import Workspace
from genwerk.recipes.sequencing import load_sequence_recipe

RECIPE = """\
name: {name}
sequences: [{files}]
layout: {layout}
longest: 40
window: {window}
holdout: 0.3
family: {family}
settings: {{width: 16, depth: 1, heads: 2}}
fit: {{steps: 12, batch: 8, warmup: 2, eval_every: 6}}
evaluate: {{n: 20, constrained: 12}}
gates: ["sequences.unique >= 0"]
"""
MOLECULES = ("CCO", "c1ccccc1", "CC(=O)O", "CN(C)C", "C1CCCCC1", "CC(C)Cc1ccccc1", "O=C(O)c1ccccc1", "CCN", "CCCC",
             "OCCO",
             "c1ccncc1", "CC#N", "C=CC", "NCC(=O)O", "Cc1ccccc1", "CCOC(C)=O", "ClCCl", "FC(F)F", "CS(C)=O", "c1ccoc1",
             "Oc1ccccc1", "Nc1ccccc1", "CCCO", "CCCN", "CC(C)O")  # fmt: skip


def genwerk(*words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["genwerk", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None), ended.value.code


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **values: Any) -> tuple[dict[str, Any], Path]:
    """The pin of what was made, and the folder of its report."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(**({"name": "made", "window": 0, "family": "autoregressive"} | values)))
    monkeypatch.setenv("GENWERK_WORKSPACE", str(tmp_path / "work"))
    genwerk("run", str(recipe), "--workspace", str(tmp_path / "work"), monkeypatch=monkeypatch)
    workspace = Workspace(tmp_path / "work")
    pin = workspace.pinned("sequencing-made")
    assert pin is not None
    return pin, workspace.find(pin["report"]).path


def measures(report: Path) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads((report / "report.json").read_text())["measures"]}


@pytest.mark.parametrize("family", ["autoregressive", "sequence_vae"])
def test_lines_become_a_generator_of_lines(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "names.txt").write_text("\n".join(f"{a}{b}{c}" for a in "abcd" for b in "xyz" for c in "mno"))
    pin, report = run(tmp_path, monkeypatch, layout="lines", files="names.txt", family=family)
    found = measures(report)
    assert found["sequences.nats"]["value"] > 0 and found["sequences.length"]["floor"] == 3.0
    assert len((report / "samples.txt").read_text().splitlines()) == 20
    assert "<pre" in (report / "report.html").read_text()
    capsys.readouterr()
    out = tmp_path / "drawn.txt"
    words = ("generate", "--model", pin["generator"], "--n", "5", "--seed", "3", "--workspace", str(tmp_path / "work"))
    genwerk(*words, "--out", str(out), monkeypatch=monkeypatch)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5 and out.read_text().splitlines() == printed


def test_molecules_are_drawn_by_their_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "some.smi").write_text("\n".join(MOLECULES))
    pin, report = run(tmp_path, monkeypatch, layout="molecules", files="some.smi")
    found = measures(report)
    assert found["molecules.valid_by_rule"]["value"] == 1.0, (report / "samples.txt").read_text()
    assert 0.0 <= found["molecules.valid"]["value"] <= 1.0
    capsys.readouterr()
    out = tmp_path / "drawn.png"
    genwerk("generate", "--model", pin["generator"], "--n", "6", "--out", str(out), "--workspace",
            str(tmp_path / "work"), monkeypatch=monkeypatch)  # fmt: skip
    printed = capsys.readouterr().out.splitlines()
    from rdkit import Chem

    assert len(printed) == 6 and all(Chem.MolFromSmiles(line) is not None for line in printed)
    assert Image.open(out).size[0] > 500


def test_scores_become_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from genwerk.data.chorales import RANGES, Note, Score
    from genwerk.evaluation.scores import write_midi

    draw = np.random.default_rng(0)
    (tmp_path / "scores").mkdir()
    for number in range(12):
        voices = tuple(tuple(Note(int(draw.integers(low + 6, high - 6)), 4 * beat, 4) for beat in range(8))
                       for low, high in RANGES)  # fmt: skip
        write_midi(Score(voices, 32, "3/4"), tmp_path / "scores" / f"{number}.mid")
    pin, report = run(tmp_path, monkeypatch, layout="chorales", files="scores", window=64)
    found = measures(report)
    assert found["music.pitch_class_entropy"]["floor"] > 2.0 and "music.copied_steps" in found
    assert {"score-1.png", "sample-1.mid", "sample-1.wav"} <= {path.name for path in report.iterdir()}
    genwerk("generate", "--model", pin["generator"], "--n", "2", "--out", str(tmp_path / "song.mid"), "--workspace",
            str(tmp_path / "work"), monkeypatch=monkeypatch)  # fmt: skip
    for path in (tmp_path / "song-1.mid", tmp_path / "song-2.mid", report / "sample-1.mid"):
        assert b"\xff\x58\x04\x03\x02" in path.read_bytes()  # three quarters, as all that was learned


def test_what_makes_no_sequences_is_refused_where_it_is_written(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    values = {"name": "made", "window": 0, "layout": "lines", "files": "a.txt"}
    recipe.write_text(RECIPE.format(**values, family="flow"))
    with pytest.raises(ModelError, match="makes no sequences"):
        load_sequence_recipe(recipe)
    recipe.write_text(RECIPE.format(**values | {"files": "moses, a.txt"}, family="autoregressive"))
    with pytest.raises(ConfigError, match="cannot be mixed"):
        load_sequence_recipe(recipe)


@pytest.mark.parametrize("name", ["molecules", "molecules-vae", "chorales"])
def test_the_recipes_that_come_along_can_be_read(name: str) -> None:
    assert load_sequence_recipe(Path(cli.__file__).parent / "recipes" / f"{name}.yaml").name == name
