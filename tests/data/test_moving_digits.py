"""Pictures that move: on lines, with all their light, and none of what is held out among the learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genwerk.core.artifact import Source
from genwerk.core.errors import DataError
from genwerk.core.workspace import Artifact, Workspace
from genwerk.data.moving_digits import ClipsConfig, move_pictures
from genwerk.data.pictures import PicturesConfig, load_pictures, prepare_pictures
from genwerk.metrics.motion import centres, flicker, off_the_line, speed


def blob(seed: int) -> Image.Image:
    """A few bright pixels in the middle of 12 × 12, no two alike."""
    pixels = np.zeros((12, 12), np.uint8)
    pixels[3:9, 4:8] = np.random.default_rng(seed).integers(60, 256, (6, 4))
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(20):
        path = tmp_path / "pictures" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        blob(index).save(path)
    return tmp_path / "pictures"


def moved(folder: Path, name: str = "work", **settings: Any) -> Artifact:
    workspace = Workspace(folder.parent / name)
    pictures = workspace.step(prepare_pictures, PicturesConfig(), Source.of_folder("pictures", folder), kind="pictures")
    config = ClipsConfig(**{"frames": 12, "field": 24, "side": 12, **settings})
    return workspace.step(move_pictures, config, pictures, kind="pictures")


def rows(artifact: Artifact, side: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (artifact.path / f"{side}.jsonl").read_text().splitlines()]


def test_clips_are_pictures_whose_channels_are_frames(folder: Path) -> None:
    made = moved(folder, paths=2)
    learned = load_pictures(made.path, "train")
    assert learned.layout == "clips" and learned.classes == ("a", "b") and learned.pixels.dtype == np.uint8
    assert learned.pixels.shape == (32, 12, 24, 24) and made.metrics["heldout"] == 8
    assert len({row["sha256"] for row in rows(made, "train")}) == 32


def test_the_same_pictures_make_the_same_clips(folder: Path) -> None:
    first, again, other = moved(folder), moved(folder, "again"), moved(folder, seed=1)
    assert first.files == again.files != other.files


def test_what_is_held_out_is_not_among_the_learned(folder: Path) -> None:
    """A clip of a picture at rest holds nothing but that picture, so each can be told by its ink."""
    made = moved(folder, slowest=0.0, fastest=1e-9, frames=2)
    inks = {side: {np.sort(clip[0][clip[0] > 0]).tobytes() for clip in load_pictures(made.path, side).pixels}
            for side in ("train", "heldout")}  # fmt: skip
    assert len(inks["train"]) == 16 and len(inks["heldout"]) == 4 and not inks["train"] & inks["heldout"]
    sources = [{row["source"].split(",")[0] for row in rows(made, side)} for side in ("train", "heldout")]
    assert not sources[0] & sources[1]


def test_they_move_on_lines_at_their_speed_and_keep_their_light(folder: Path) -> None:
    made = moved(folder, slowest=1.5, fastest=1.6)
    clips = load_pictures(made.path, "train").pixels.astype(np.float64)
    path = centres(clips)
    assert off_the_line(path).max() < 0.05 and flicker(clips).max() < 0.01
    assert (speed(path) <= 1.65).all() and np.median(speed(path)) == pytest.approx(1.55, abs=0.06)
    steps = np.diff(path, axis=1)
    bounced = (steps[:, 1:] * steps[:, :-1] < 0).any((1, 2))
    assert bounced.any()


def test_what_cannot_move_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="cannot move in a field of 8"):
        moved(folder, field=8, side=16)
    Image.new("L", (12, 12)).save(folder / "a" / "dark.png")
    with pytest.raises(DataError, match=r"0 × 0|that are not dark"):
        moved(folder)
    (folder / "a" / "dark.png").unlink()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)).save(folder / "a" / "rgb.png")
    with pytest.raises(DataError, match="only grey pictures"):
        moved(folder)
