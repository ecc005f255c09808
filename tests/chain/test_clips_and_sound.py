"""From pictures to clips and from scores to sound, by the commands that a user types."""

from __future__ import annotations

import json
import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genwerk import cli
from genwerk.core.errors import GenwerkError
from genwerk.core.workspace import Workspace
from genwerk.data.chorales import Note, Score
from genwerk.evaluation.scores import write_midi
from genwerk.recipes.generating import load_generator_recipe
from genwerk.serving.studio import Studio

REST = """\
family: flow
settings: {network: {width: 8, multipliers: [1, 2]}, steps: 2}
fit: {steps: 8, batch: 8, warmup: 2, eval_every: 4}
features: {steps: 20, batch: 16, width: 4}
evaluate: {n: 50, resamples: 3}
"""
CLIPS = "name: clips\npictures: ./shapes\nclips: {frames: 4, field: 16, side: 8, paths: 2}\nholdout: 0.4\n" + REST
SOUND = "name: sound\npictures: ./scores\nsound: {frames: 16, heard: 10}\nholdout: 0.3\n" + REST


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty squares and bars of 8 × 8, and ten scores of eight quarters."""
    root, draw = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for index in range(60):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[2:6, 2 : 4 if index % 2 else 6] = draw.integers(150, 256, (4, 1))
        name = "bars" if index % 2 else "squares"
        (root / "shapes" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "shapes" / name / f"{index}.png")
    (root / "scores").mkdir()
    for index in range(10):
        voices = [tuple(Note(int(draw.integers(low, low + 12)), 4 * place, 4) for place in range(8))
                  for low in (62, 58, 50, 40)]  # fmt: skip
        write_midi(Score(tuple(voices), 32), root / "scores" / f"{index}.mid")
    (root / "clips.yaml").write_text(CLIPS)
    (root / "sound.yaml").write_text(SOUND)
    return root


def genwerk(*words: str, monkeypatch: pytest.MonkeyPatch, fails: bool = False) -> None:
    monkeypatch.setattr("sys.argv", ["genwerk", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code not in (0, None)) == fails, ended.value.code


def made(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, set[str], str]:
    """Generator, names of measures and report."""
    work = root / f"work-{name}"
    genwerk("run", str(root / f"{name}.yaml"), "-w", str(work), monkeypatch=monkeypatch)
    pin = Workspace(work).pinned(f"generating-{name}")
    report = Workspace(work).find(pin["report"]).path
    names = {one["name"] for one in json.loads((report / "report.json").read_text())["measures"]}
    return pin["generator"], names, (report / "report.html").read_text()


def test_pictures_become_clips(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    model, names, page = made(root, "clips", monkeypatch)
    assert {"clips.same_digit", "clips.off_the_line", "clips.flicker", "clips.speed", "pictures.frechet"} <= names
    assert "data:image/gif;base64," in page and "data:image/png;base64," in page
    asked = ["generate", "--model", model, "--n", "3", "-w", str(root / "work-clips"), "--out"]
    genwerk(*asked, str(root / "x.gif"), monkeypatch=monkeypatch)
    genwerk(*asked, str(root / "x.png"), monkeypatch=monkeypatch)
    assert Image.open(root / "x.gif").n_frames == 4
    across, down = Image.open(root / "x.png").size
    assert across / down == pytest.approx((4 * 18 + 2) / (3 * 18 + 2))
    capsys.readouterr()
    genwerk(*asked, str(root / "x.wav"), monkeypatch=monkeypatch, fails=True)
    assert "clips cannot be written as `.wav`" in capsys.readouterr().err

    studio = Studio(Workspace(root / "work-clips"))
    call = studio.read({"model": "clips", "prompt": "bars"})
    *_, last = studio.make(call, threading.Event())
    (root / "studio.png").write_bytes(last.pictures[0])
    assert Image.open(root / "studio.png").n_frames == 4


def test_scores_become_sound(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    model, names, page = made(root, "sound", monkeypatch)
    assert {"sound.in_tune", "sound.voices", "sound.convergence", "sound.way_back_in_tune"} <= names
    assert page.count("<audio") == 3 and "data:audio/wav;base64," in page
    asked = ["generate", "--model", model, "-w", str(root / "work-sound"), "--out"]
    genwerk(*asked, str(root / "x.wav"), "--n", "2", "--prompt", "C,F#", monkeypatch=monkeypatch)
    genwerk(*asked, str(root / "one.wav"), "--n", "1", "--prompt", "C", monkeypatch=monkeypatch)
    genwerk(*asked, str(root / "sound.png"), "--n", "5", monkeypatch=monkeypatch)
    assert (root / "x-1.wav").read_bytes() == (root / "one.wav").read_bytes() != (root / "x-2.wav").read_bytes()
    with wave.open(str(root / "x-2.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (16_000, 16 * 640)
    assert Image.open(root / "sound.png").size[0] > 4 * 16 * 3
    capsys.readouterr()
    genwerk(*asked, str(root / "x.mp3"), monkeypatch=monkeypatch, fails=True)
    assert "sound cannot be written as `.mp3`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CLIPS + "sound: {}\n", "clips have no sound"),
        (CLIPS.replace("./shapes", "chorales"), "chorales are no pictures"),
        (CLIPS.replace("field: 16", "feild: 16"), "Did you mean `field`"),
        (SOUND.replace("frames: 16", "frames: 18"), "frames"),
    ],
)
def test_bad_recipes_say_what_to_do(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(GenwerkError, match=message):
        load_generator_recipe(tmp_path / "recipe.yaml")


def test_the_recipes_that_come_with_it_are_valid() -> None:
    folder = Path(cli.__file__).parent / "recipes"
    for name in ("moving-digits", "chorale-sound"):
        assert load_generator_recipe(folder / f"{name}.yaml").name == name
