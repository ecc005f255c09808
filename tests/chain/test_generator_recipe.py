"""From a folder of pictures to a measured generator and a grid, by the commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genwerk import cli
from genwerk.core.errors import GenwerkError
from genwerk.core.workspace import Workspace
from genwerk.recipes.generating import load_generator_recipe

RECIPE = """\
name: shapes
pictures: ./shapes
family: {family}
settings: {settings}
fit: {{steps: 12, batch: 16, warmup: 2, eval_every: 6, look_every: 6}}
features: {{steps: 30, batch: 16, width: 4}}
evaluate: {{n: 50, resamples: 4}}
gates: ["pictures.classes >= 1"]
"""
SETTINGS = {
    "flow": "{network: {width: 8, multipliers: [1, 2]}, steps: 3}",
    "vae": "{codes: 4, width: 4}",
    "gan": "{codes: 4, width: 4}",
    "codes": "{prior: {width: 16, depth: 1, heads: 2}}",
}
CODEC = "codec: {settings: {codes: 8, numbers: 2, halvings: 1, width: 4}, fit: {steps: 8, batch: 16}}\n"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred squares and bars of 8 × 8."""
    root, draw = tmp_path_factory.mktemp("generator"), np.random.default_rng(0)
    for index in range(300):
        pixels = draw.integers(0, 40, (8, 8)).astype(np.uint8)
        top, left = draw.integers(0, 4, 2)
        name = "bars" if index % 2 else "squares"
        pixels[:, left : left + 2] = 230 if index % 2 else pixels[:, left : left + 2]
        pixels[top : top + 4, left : left + 4] = pixels[top : top + 4, left : left + 4] if index % 2 else 230
        (root / "shapes" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "shapes" / name / f"{index}.png")
    return root


def genwerk(*words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["genwerk", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None), ended.value.code


@pytest.mark.parametrize("family", SETTINGS)
def test_a_recipe_becomes_a_generator_that_draws(
    family: str, shapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    recipe = shapes / f"{family}.yaml"
    recipe.write_text(RECIPE.format(family=family, settings=SETTINGS[family]) + (CODEC if family == "codes" else ""))
    work = shapes / f"work-{family}"
    genwerk("run", str(recipe), "-w", str(work), monkeypatch=monkeypatch)
    workspace = Workspace(work)
    pin = workspace.pinned("generating-shapes")
    report = workspace.find(pin["report"]).path
    found = {one["name"]: one["value"] for one in json.loads((report / "report.json").read_text())["measures"]}
    names = set(found)
    assert {"pictures.frechet", "pictures.coverage", "pictures.nearer_to_learned", "pictures.as_asked",
            "pictures.train_on_synthetic", "pictures.augmentation_gain", "pictures.calls"} <= names  # fmt: skip
    assert ("pictures.negative_elbo" in names) == (family == "vae")
    assert ("pictures.rate" in names) == ("pictures.codes_in_use" in names) == (family == "codes")
    assert found["pictures.calls"] == {"flow": 5, "vae": 1, "gan": 1, "codes": 16}[family]
    page = (report / "report.html").read_text()
    assert "data:image/png;base64," in page and "http://" not in page.replace("http://www.w3.org", "")
    capsys.readouterr()
    genwerk("run", str(recipe), "-w", str(work), monkeypatch=monkeypatch)
    assert "made in" not in capsys.readouterr().err  # everything is found

    first, again, other = (shapes / f"{family}-{number}.png" for number in range(3))
    for out, seed in ((first, "7"), (again, "7"), (other, "8")):
        genwerk("generate", "--model", pin["generator"], "--prompt", "bars,squares", "--n", "4", "--seed", seed,
                "--out", str(out), "-w", str(work), monkeypatch=monkeypatch)  # fmt: skip
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    assert np.asarray(Image.open(first)).std() > 5


def test_a_start_and_a_mask_are_taken(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Workspace(shapes / "work-flow")
    model = work.pinned("generating-shapes")["generator"]
    start, mask = shapes / "shapes" / "bars" / "1.png", shapes / "mask.png"
    Image.fromarray(np.tile(np.array([0] * 4 + [255] * 4, np.uint8), (8, 1))).save(mask)
    asked = ["generate", "--model", model, "--n", "1", "--start", str(start), "--mask", str(mask), "-w", str(work.root)]
    genwerk(*asked, "--out", str(shapes / "filled.png"), monkeypatch=monkeypatch)
    made = np.asarray(Image.open(shapes / "filled.png").convert("L"))
    times = made.shape[0] // 12
    small = made[::times, ::times][2:10, 2:10]
    assert np.array_equal(small[:, :4], np.asarray(Image.open(start))[:, :4])
    monkeypatch.setattr("sys.argv", ["genwerk", *asked[:-4], "--mask", str(shapes / "grid.png"), "-w", str(work.root)])
    with pytest.raises(SystemExit):
        cli.main()


LATENT = """\
name: told
pictures: ./shapes
family: latent
ask: text
codec: {settings: {codes: 2, halvings: 1, likelihood: gaussian, width: 4}, fit: {steps: 8, batch: 16}}
settings: {prior: {network: {kind: dit, width: 16, depth: 1, heads: 2, patch: 1}, steps: 2}}
fit: {steps: 8, batch: 16}
features: {steps: 20, batch: 16, width: 4}
evaluate: {n: 50, resamples: 3}
"""


def test_pictures_are_asked_for_in_words(
    shapes: Path, minilm_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [
        {"file_name": f"{name}/{path.name}", "text": f"a small {name[:-1]}"}
        for name in ("bars", "squares")
        for path in sorted((shapes / "shapes" / name).glob("*.png"))
    ]
    folder = tmp_path / "told"
    for row in rows:
        target = folder / "shapes" / row["file_name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((shapes / "shapes" / row["file_name"]).read_bytes())
    (folder / "shapes" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "told.yaml").write_text(LATENT)
    work = folder / "work"
    genwerk("run", str(folder / "told.yaml"), "-w", str(work), monkeypatch=monkeypatch)
    pin = Workspace(work).pinned("generating-told")
    report = json.loads((Workspace(work).find(pin["report"]).path / "report.json").read_text())
    assert "pictures.text_retrieved" in {one["name"] for one in report["measures"]}
    out = folder / "grid.png"
    genwerk("generate", "--model", pin["generator"], "--prompt", "a tall, thin bar", "--n", "2", "--out", str(out),
            "-w", str(work), monkeypatch=monkeypatch)  # fmt: skip
    assert out.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("family: flwo", "there is no family"),
        ("settings: {widht: 3}", "Did you mean|not a known key"),
        ("gates: [\"pictures.covrage > 0\"]", "not a known measure"),
        ("fit: {setps: 3}", "Did you mean `steps`"),
        ("pictures: [digits, ./shapes]", "cannot be mixed"),
        ("codec: {settings: {halvings: 1}}", "flow has no codec"),
        ("family: latent", "needs a `codec:`"),
        ("family: codes", "needs a `codec:`"),
        ("family: codes\ncodec: {settings: {beta: 1, likelihood: gaussian}}", "not a known key"),
        ("family: latent\ncodec: {settings: {frames: true}}", "only clips have frames"),
        ("family: vq", "makes no pictures"),
        ("ask: nothing\ntransfer: {}", "transferred between classes"),
        ("attribute: {amounts: [0, 1]}", "word"),
    ],
)  # fmt: skip
def test_bad_recipes_say_what_to_do(change: str, message: str, tmp_path: Path) -> None:
    key = change.split(":")[0]
    lines = [line for line in RECIPE.format(family="flow", settings="{}").splitlines() if not line.startswith(key)]
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join([*lines, change]))
    with pytest.raises(GenwerkError, match=message):
        load_generator_recipe(path)


def test_the_recipes_that_come_with_it_are_valid() -> None:
    folder = Path(cli.__file__).parent / "recipes"
    paths = [*sorted(folder.glob("digits-*.yaml")), *sorted(folder.glob("emoji*.yaml"))]
    assert len(paths) == 11
    for path in paths:
        assert load_generator_recipe(path).name == path.stem
