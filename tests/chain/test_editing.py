"""From a folder with pairs to a measured transfer and an edited picture, by the commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genwerk import cli
from genwerk.core.workspace import Workspace

RECIPE = """\
name: styles
pictures: ./pictures
family: {family}
settings: {settings}
fit: {{steps: 12, batch: 16, warmup: 2, eval_every: 6}}
features: {{steps: 20, batch: 16, width: 4}}
evaluate: {{n: 50, resamples: 3}}
transfer: {transfer}
attribute: {{word: tall, n: 6, amounts: [0, 1]}}
gates: ["transfer.style >= 0", "attribute.rest >= 0"]
"""
SETTINGS = {
    "flow": ("{network: {width: 8, multipliers: [1, 2]}, steps: 3}", "{strength: 0.7, guidance: 1.5}"),
    "vae": ("{codes: 4, width: 4}", "{}"),
}


@pytest.fixture(scope="module")
def styles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars in black and in grey, half of them tall; the same in both styles, and so held out."""
    root, draw = tmp_path_factory.mktemp("styles"), np.random.default_rng(0)
    rows = []
    for index in range(160):
        left, tall = int(draw.integers(0, 6)), index % 2 == 0
        for style, value in (("black", 255), ("grey", 120)):
            pixels = draw.integers(0, 30, (8, 8)).astype(np.uint8)
            pixels[0 if tall else 4 :, left : left + 2] = value
            (root / "pictures" / style).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "pictures" / style / f"{index}.png")
            words = f"a {'tall' if tall else 'short'} bar {index}"
            rows.append({"file_name": f"{style}/{index}.png", "text": words, "group": str(index)})
    (root / "pictures" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def genwerk(*words: str, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    monkeypatch.setattr("sys.argv", ["genwerk", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code or 0) == code


@pytest.mark.parametrize("family", SETTINGS)
def test_a_picture_changes_its_style_and_gains_an_attribute(
    family: str, styles: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    settings, transfer = SETTINGS[family]
    recipe, work = styles / f"{family}.yaml", styles / f"work-{family}"
    recipe.write_text(RECIPE.format(family=family, settings=settings, transfer=transfer))
    genwerk("run", str(recipe), "-w", str(work), monkeypatch=monkeypatch)
    workspace = Workspace(work)
    pin = workspace.pinned("generating-styles")
    report = workspace.find(pin["report"]).path
    measures = {one["name"]: one for one in json.loads((report / "report.json").read_text())["measures"]}
    assert {"pictures.recall", "transfer.pixels_gain", "transfer.style", "attribute.has"} <= measures.keys()
    assert measures["transfer.pixels"]["low"] <= measures["transfer.pixels"]["value"]
    page = (report / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4 and "times the direction" in page and "<svg" in page

    model, picture = pin["generator"], styles / "pictures" / "black" / "1.png"
    for name, more in {
        "styled": ("--to", "grey"),
        "every": ("--to", "grey,black", "--guidance", "1.2" if family == "flow" else "1.0"),
        "tall": ("--attribute", "tall", "--among", "bar", "--n", "3", "--amount", "1.5"),
    }.items():
        out = styles / f"{name}-{family}.png"
        genwerk("edit", str(picture), "--model", model, "--from", "black", *more, "--out", str(out), "-w", str(work),
                monkeypatch=monkeypatch)  # fmt: skip
        across = {"styled": 2, "every": 3, "tall": 4}[name]
        with Image.open(out) as image:
            assert image.width % (across * 10 + 2) == 0 and image.height * (across * 10 + 2) == image.width * 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "green"), "there is no class `green`"),
        (("--from", "green", "--to", "grey"), "there is no class `green`"),
        (("--attribute", "tal"), "Did you mean tall"),
        (("--attribute", "grey"), "a class that the model is asked by"),
        (("--attribute", "3"), "A mean needs 5 of each"),
        ((), "nothing to change"),
        (("--to", "grey", "--attribute", "tall"), "two changes"),
        (("--to", "grey", "--solver", "ancestral"), "no way back"),
        (("--attribute", "tall", "--strength", "0.5"), "at the end of the way"),
    ],
)
def test_what_cannot_be_edited_is_said(
    words: tuple[str, ...], message: str, styles: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    model = Workspace(styles / "work-flow").pinned("latest-styles")["generator"]
    picture = styles / "pictures" / "black" / "1.png"
    source = () if "--from" in words else ("--from", "black")
    genwerk("edit", str(picture), "--model", model, *source, *words, "-w", str(styles / "work-flow"),
            monkeypatch=monkeypatch, code=1)  # fmt: skip
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_picture_of_another_size_is_refused(styles: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    model = Workspace(styles / "work-flow").pinned("latest-styles")["generator"]
    Image.new("L", (9, 8)).save(styles / "wide.png")
    genwerk("edit", str(styles / "wide.png"), "--model", model, "--to", "grey", "-w", str(styles / "work-flow"),
            monkeypatch=monkeypatch, code=1)  # fmt: skip
    assert "9 × 8 pixels, the model makes 8 × 8" in capsys.readouterr().err


def test_without_what_it_learned_from_there_is_no_attribute(
    styles: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    made = Workspace(styles / "work-flow").find(Workspace(styles / "work-flow").pinned("latest-styles")["generator"])
    for file in ("family.json", "weights.safetensors"):
        (tmp_path / file).write_bytes((made.path / file).read_bytes())
    genwerk("edit", str(styles / "pictures" / "black" / "1.png"), "--model", str(tmp_path), "--attribute", "tall",
            monkeypatch=monkeypatch, code=1)  # fmt: skip
    assert "what the model learned from is not beside it" in capsys.readouterr().err
