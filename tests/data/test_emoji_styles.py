"""Pictures that belong together are held out together: groups of a folder, and emoji of two vendors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genwerk.core.artifact import Source
from genwerk.core.errors import DataError
from genwerk.core.workspace import Artifact, Workspace
from genwerk.data.pictures import PicturesConfig, load_pictures, prepare_pictures


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


def prepared(root: Path, paths: Sequence[Path], **settings: object) -> Artifact:
    sources = [Source.of_folder(f"{index}", path) if path.is_dir() else Source("names", path, "")
               for index, path in enumerate(paths)]  # fmt: skip
    config = PicturesConfig.parse(settings)
    return Workspace(root / "work").step(prepare_pictures, config, *sources, kind="pictures")


@pytest.fixture
def emoji(tmp_path: Path) -> list[Path]:
    """Thirty emoji of two vendors, among them a runner in four ways; one that only one vendor has."""
    images = [f"1f4{index:02d}.png" for index in range(26)]
    images += [f"1f3c3{more}.png" for more in ("", "-200d-2640-fe0f", "-200d-2642-fe0f-200d-27a1-fe0f")]
    images += ["1f468-200d-1f33e.png"]
    entries = [{"image": image, "name": f"NAME {index}", "short_name": "n", "category": "C", "has_img_twitter": True,
                "has_img_google": index != 3} for index, image in enumerate(images)]  # fmt: skip
    for number, style in enumerate(("twitter", "google")):
        for index, image in enumerate(images):
            write(tmp_path / style / image, 1000 * number + index)
    (tmp_path / "google" / images[3]).unlink()
    (tmp_path / "emoji.json").write_text(json.dumps(entries))
    return [tmp_path / "twitter", tmp_path / "google", tmp_path / "emoji.json"]


def test_an_emoji_is_held_out_in_both_styles_or_in_none(emoji: list[Path], tmp_path: Path) -> None:
    made = prepared(tmp_path, emoji, layout="emoji-styles", holdout=0.3)
    sides = [load_pictures(made.path, "train"), load_pictures(made.path, "heldout")]
    names = [set(side.texts) for side in sides]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 29
    assert sides[0].classes == ("google", "twitter")
    for side in sides:
        counts = {text: sorted(side.labels[np.array(side.texts) == text].tolist()) for text in set(side.texts)}
        assert set(map(tuple, counts.values())) == {(0, 1)}
    runners = {"name 26", "name 27", "name 28"}
    assert runners <= names[0] or runners <= names[1]
    assert "not every vendor has it" in (made.path / "ledger.jsonl").read_text()
    train = json.loads((made.path / "train.jsonl").read_text().splitlines()[0])
    assert train["source"].split("/")[0] == train["class"]


def test_styles_need_two_folders(emoji: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="need 2 folders"):
        prepared(tmp_path, emoji[1:], layout="emoji-styles")


def test_groups_of_a_folder_stay_together(tmp_path: Path) -> None:
    rows = []
    for index in range(20):
        for style in ("photo", "sketch"):
            write(tmp_path / "pictures" / style / f"{index}.png", index + (100 if style == "photo" else 0))
            rows.append({"file_name": f"{style}/{index}.png", "text": f"thing {index}", "group": f"thing {index // 2}"})
    path = tmp_path / "pictures" / "metadata.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = prepared(tmp_path, [tmp_path / "pictures"], holdout=0.3)
    both = (load_pictures(made.path, "train"), load_pictures(made.path, "heldout"))
    sides = [{int(text.split()[1]) // 2 for text in side.texts} for side in both]
    assert not sides[0] & sides[1] and (len(sides[0]), len(sides[1])) == (7, 3)
    path.write_text("".join(json.dumps({**row, "group": "one"}) + "\n" for row in rows))
    with pytest.raises(DataError, match="all pictures are of one group"):
        prepared(tmp_path, [tmp_path / "pictures"])
