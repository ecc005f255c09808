"""From a folder of pictures to a larger picture, by the commands that a user types; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genwerk import cli
from genwerk.core.workspace import Workspace
from genwerk.generators.family import Space
from genwerk.generators.storage import make_family, save_family, settings_of
from genwerk.recipes import enlarging

RECIPE = """\
name: sharp
pictures: ./shapes
family: super_resolution
settings: {{network: {{width: 8, multipliers: [1, 2]}}, tile: 8, overlap: 4, steps: 2}}
ask: nothing
colours: {colours}
fit: {{steps: 30, batch: 16, warmup: 2, eval_every: 15}}
features: {{steps: 10, batch: 16, width: 4}}
evaluate: {{n: 50, resamples: 4}}
gates: ["enlarged.inconsistent < 1"]
"""


def genwerk(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["genwerk", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two workspaces, `rgb` and `grey`, that each hold a super-resolution of 16 × 16."""
    root, draw = tmp_path_factory.mktemp("enlarge"), np.random.default_rng(0)
    (root / "shapes").mkdir()
    for index in range(260):
        pixels = np.full((16, 16, 3), 255, np.uint8)
        top, left = draw.integers(0, 8, 2)
        pixels[top : top + 7, left : left + 7] = draw.integers(0, 200, 3)
        Image.fromarray(pixels).save(root / "shapes" / f"{index}.png")
    for colours in ("rgb", "grey"):
        (root / f"{colours}.yaml").write_text(RECIPE.format(colours=colours))
        with pytest.MonkeyPatch.context() as patch:
            assert genwerk("run", str(root / f"{colours}.yaml"), "-w", str(root / colours), monkeypatch=patch) == 0
    return root


def model(trained: Path, colours: str = "rgb") -> list[str]:
    """Options that name it."""
    work = Workspace(trained / colours)
    return ["--model", work.pinned("enlarging-sharp")["generator"], "-w", str(work.root)]


def test_a_recipe_becomes_a_report_beside_interpolation(trained: Path) -> None:
    work = Workspace(trained / "rgb")
    report = work.find(work.pinned("enlarging-sharp")["report"]).path
    measured = {one["name"]: one for one in json.loads((report / "report.json").read_text())["measures"]}
    for arm in ("drawn", "mean", "bicubic", "nearest"):
        for name in ("psnr", "ssim", "frechet"):
            one = measured[f"enlarged.{arm}.{name}"]
            assert one["low"] <= one["value"] <= one["high"]
    assert measured["enlarged.drawn.gain"]["value"] == pytest.approx(
        measured["enlarged.drawn.psnr"]["value"] - measured["enlarged.bicubic.psnr"]["value"]
    )
    assert "data:image/png;base64," in (report / "report.html").read_text()
    assert "generating-sharp" not in work.pins()


def test_a_picture_of_any_size_is_enlarged_and_agrees(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(1).integers(60, 200, (13, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(trained / "small.png")
    made = {}
    for name, more in {"once": [], "again": [], "other": ["--seed", "3"], "mean": ["--mean"],
                       "four": ["--times", "4", "--steps", "1"]}.items():  # fmt: skip
        out = trained / f"{name}.png"
        words = ["enlarge", str(trained / "small.png"), *model(trained), "--out", str(out), *more]
        assert genwerk(*words, monkeypatch=monkeypatch) == 0
        made[name] = np.asarray(Image.open(out)).astype(float)
    assert made["once"].shape == (26, 60, 3) and made["four"].shape == (52, 120, 3)
    assert np.array_equal(made["once"], made["again"]) and not np.array_equal(made["once"], made["other"])
    down = made["once"].reshape(13, 2, 30, 2, 3).mean((1, 3))
    assert np.abs(down - pixels).mean() < 1.0


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "L", "1x1"])
def test_unusual_pictures_are_enlarged_and_what_changed_is_said(
    mode: str, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (9, 11)).astype(np.uint8)
    image = {
        "RGBA": Image.fromarray(np.stack([pixels] * 4, 2)),
        "I;16": Image.fromarray(pixels.astype(np.uint16) * 256),
        "L": Image.fromarray(pixels),
        "1x1": Image.new("RGB", (1, 1), (9, 99, 199)),
    }[mode]
    path, out = trained / "unusual.png", trained / "large.png"
    image.save(path)
    assert genwerk("enlarge", str(path), *model(trained), "--out", str(out), monkeypatch=monkeypatch) == 0
    made, said = Image.open(out), capsys.readouterr().err
    assert made.size == (2 * image.width, 2 * image.height)
    assert made.mode == ("L" if mode in ("L", "I;16") else "RGB")
    assert ("on white" in said) == (mode == "RGBA") and ("8 bits" in said) == (mode == "I;16")
    if mode == "1x1":
        assert np.abs(np.asarray(made).astype(float).mean((0, 1)) - (9, 99, 199)).max() <= 1.0


def test_what_cannot_be_enlarged_is_refused_in_words(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    Image.new("RGB", (20, 20), (200, 10, 10)).save(trained / "colour.png")
    (trained / "words.png").write_text("no picture")
    whole = (trained / "shapes" / "0.png").read_bytes()
    (trained / "cut.png").write_bytes(whole[: len(whole) // 2])
    rgb, colour = model(trained), str(trained / "colour.png")
    cases = {
        "cannot be read": [str(trained / "words.png"), *rgb],
        "cut.png cannot be read": [str(trained / "cut.png"), *rgb],
        "cannot be read: [Errno 2]": [str(trained / "none.png"), *rgb],
        "is in colour": [colour, *model(trained, "grey")],
        "3 times is not possible": [colour, *rgb, "--times", "3"],
        "is no PNG file": [colour, *rgb, "--out", str(trained / "large.jpg")],
        "one step of Euler": [colour, *rgb, "--mean", "--steps", "4"],
        "there is no solver": [colour, *rgb, "--solver", "eulr"],
    }
    for message, words in cases.items():
        assert genwerk("enlarge", *words, monkeypatch=monkeypatch) == 1
        assert message in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(enlarging, "_BESIDE", 10**15)
        assert genwerk("enlarge", colour, *rgb, monkeypatch=patch) == 1
        assert "40 × 40 needs 1000000.0 GB" in capsys.readouterr().err
    assert genwerk("generate", "--model", rgb[1], "-w", rgb[3], monkeypatch=monkeypatch) == 1
    assert "genwerk enlarge PICTURE" in capsys.readouterr().err


def test_what_enlarges_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    words = ["enlarge", "a.png", "--model", str(tmp_path)]
    assert genwerk(*words, monkeypatch=monkeypatch) == 1
    assert "no generator can be loaded" in capsys.readouterr().err
    config = settings_of("flow", {"network": {"width": 8, "multipliers": [1]}})
    save_family(tmp_path, "flow", config, make_family("flow", config, Space((3, 8, 8))), by="nothing", classes=())
    assert genwerk(*words, monkeypatch=monkeypatch) == 1
    assert "a flow enlarges no pictures" in capsys.readouterr().err
