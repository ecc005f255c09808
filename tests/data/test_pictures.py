"""Pictures of every kind become one array, and what cannot be used is named."""

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
from genwerk.data.picture_files import UnreadablePictureError, fit_square, read_picture
from genwerk.data.pictures import PicturesConfig, load_pictures, prepare_pictures


def noise(size: tuple[int, int] = (8, 8), seed: int = 0, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures in two classes."""
    for index in range(10):
        path = tmp_path / "pictures" / ("cats" if index % 2 else "dogs") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed=index).save(path)
    return tmp_path / "pictures"


def prepared(folder: Path, **settings: Any) -> Artifact:
    workspace = Workspace(folder.parent / "work")
    config = PicturesConfig(**settings)
    return workspace.step(prepare_pictures, config, Source.of_folder("pictures", folder), kind="pictures")


def entries(artifact: Artifact) -> dict[str, str]:
    lines = (artifact.path / "ledger.jsonl").read_text().splitlines()
    return {entry["source"]: f"{entry['rule']}: {entry['detail']}" for entry in map(json.loads, lines)}


def test_folders_are_classes_and_a_share_of_each_is_held_out(folder: Path) -> None:
    made = prepared(folder, holdout=0.4)
    train, held_out = load_pictures(made.path, "train"), load_pictures(made.path, "heldout")
    assert train.classes == ("cats", "dogs")
    assert sorted(train.labels.tolist()) == [0, 0, 0, 1, 1, 1] and sorted(held_out.labels.tolist()) == [0, 0, 1, 1]
    assert train.pixels.shape == (6, 3, 8, 8) and train.pixels.dtype == np.uint8
    row = json.loads((made.path / "train.jsonl").read_text().splitlines()[0])
    pixels = np.asarray(Image.open(folder / row["source"]))
    assert np.array_equal(train.pixels[0], pixels.transpose(2, 0, 1))
    card = json.loads((made.path / "card.json").read_text())
    assert card["by_class"] == {"cats": 5, "dogs": 5} and card["train"] == 6


def test_the_same_pictures_give_the_same_split(folder: Path) -> None:
    first = prepared(folder)
    for index, path in enumerate(sorted(folder.rglob("*.png"))):
        path.rename(path.with_name(f"renamed-{index}.png"))
    again = prepared(folder)
    hashes = [{json.loads(line)["sha256"] for line in (made.path / "heldout.jsonl").read_text().splitlines()}
              for made in (first, again)]  # fmt: skip
    assert first.id != again.id and hashes[0] == hashes[1]


def test_mixed_sizes_ask_for_one_and_are_scaled_to_it(folder: Path) -> None:
    noise((20, 10), 50).save(folder / "cats" / "wide.png")
    with pytest.raises(DataError, match=r"of 2 sizes: 10 of 8 × 8, 1 of 20 × 10.*Give `size`, for example 8"):
        prepared(folder)
    made = prepared(folder, size=6)
    assert load_pictures(made.path, "train").pixels.shape[2:] == (6, 6)
    assert entries(made)["cats/wide.png"] == "size: 20 × 10 became 6 × 6, the middle of it"


def test_modes_and_depths_become_eight_bits(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    grey = np.linspace(0, 65535, 64).reshape(8, 8)
    Image.fromarray(grey.astype(np.uint16)).save(folder / "sixteen.png")
    Image.fromarray((1 - grey / 65535).astype(np.float32)).save(folder / "float.tiff")
    noise(mode="P").save(folder / "palette.png")
    noise(seed=1).convert("CMYK").save(folder / "cmyk.tiff")
    noise(seed=2, mode="1").save(folder / "bits.png")
    through = noise(seed=3).convert("RGBA")
    through.putalpha(0)
    through.save(folder / "through.png")
    noise(seed=4, mode="LA").save(folder / "la.png")
    made = prepared(folder, holdout=0.1)
    assert load_pictures(made.path, "train").pixels.shape[1:] == (3, 8, 8)
    told = entries(made)
    assert told["sixteen.png"].startswith("mode: I;16 became L") and "CMYK became RGB" in told["cmyk.tiff"]
    assert np.array_equal(np.asarray(read_picture(folder / "sixteen.png").image), (grey / 257).round())
    assert np.array_equal(np.asarray(read_picture(folder / "float.tiff").image), (255 - grey / 257).round())
    assert (np.asarray(read_picture(folder / "through.png").image) == 255).all()
    assert ("transparent", "on white") in read_picture(folder / "through.png").changes


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(4):
        noise(seed=index, mode="L").save(folder / f"{index}.png")
    assert load_pictures(prepared(folder).path, "train").pixels.shape[1] == 1
    assert load_pictures(prepared(folder, colours="rgb").path, "train").pixels.shape[1] == 3


def test_corrupt_files_are_named_and_left_out(folder: Path, capsys: Any) -> None:
    whole = (folder / "cats" / "1.png").read_bytes()
    (folder / "cats" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "cats" / "text.jpg").write_text("not a picture")
    (folder / "cats" / "empty.png").write_bytes(b"")
    (folder / "notes.md").write_text("no picture either, and not taken for one")
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(folder / "nan.tiff")
    made = prepared(folder)
    told, said = entries(made), capsys.readouterr().err
    for name in ("cats/cut.png", "cats/text.jpg", "cats/empty.png", "nan.tiff"):
        assert told[name].startswith("unreadable") and name in said
    assert made.metrics["dropped"] == 4 and "notes.md" not in told


def test_twins_are_left_out_so_that_none_is_on_both_sides(folder: Path) -> None:
    noise(seed=1).save(folder / "dogs" / "again.png")
    made = prepared(folder)
    assert entries(made)["dogs/again.png"] == "duplicate: the same pixels as cats/1.png"
    assert made.metrics["train"] + made.metrics["heldout"] == 10


@pytest.mark.parametrize("count", [0, 1])
def test_none_or_one_is_too_few(count: int, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(count):
        noise(seed=index).save(folder / f"{index}.png")
    with pytest.raises(DataError, match=f"{count} picture"):
        prepared(folder)


def test_a_class_of_one_is_learned_from(tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "pictures"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        noise(seed=len(name) + ord(name)).save(folder / name / "one.png")
    made = prepared(folder)
    assert "class `a` has one picture only" in capsys.readouterr().err
    assert (made.metrics["train"], made.metrics["heldout"]) == (1, 1)


def test_pictures_of_a_single_colour(folder: Path, tmp_path: Path, capsys: Any) -> None:
    Image.new("RGB", (8, 8), "red").save(folder / "cats" / "red.png")
    prepared(folder)
    assert "1 pictures are of a single colour" in capsys.readouterr().err
    plain = tmp_path / "plain"
    plain.mkdir()
    for colour in ("red", "blue", "green"):
        Image.new("RGB", (8, 8), colour).save(plain / f"{colour}.png")
    with pytest.raises(DataError, match="every picture is of a single colour"):
        prepared(plain)


def test_texts_come_from_metadata_or_from_beside_the_picture(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        noise(seed=index).save(folder / f"{index}.png")
    (folder / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "a café", "label": "x"}\n')
    (folder / "1.txt").write_text("Ein Elefant\nmore\n", encoding="utf-8")
    made = prepared(folder, holdout=0.01)
    rows = [json.loads(line) for split in ("train", "heldout")
            for line in (made.path / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]  # fmt: skip
    assert {row["source"]: (row["text"], row["class"]) for row in rows} == {
        "0.png": ("a café", "x"), "1.png": ("Ein Elefant", ""), "2.png": ("", ""),
    }  # fmt: skip
    (folder / "metadata.jsonl").write_text('{"text": "whose?"}\n')
    with pytest.raises(DataError, match="no `file_name`"):
        prepared(folder)


def test_digits_and_emoji_are_read_as_their_packages_hold_them(tmp_path: Path) -> None:
    digits, emoji = tmp_path / "digits", tmp_path / "emoji"
    digits.mkdir(), emoji.mkdir()
    draw = np.random.default_rng(0)
    for digit in range(10):
        (digits / f"{digit}.json").write_text(json.dumps({"data": draw.random(3 * 784).round(3).tolist()}))
    made = prepared(digits, layout="digits")
    assert made.metrics["shape"] == "1 × 28 × 28" and made.metrics["classes"] == 10
    noise(seed=1).save(emoji / "1f600.png"), noise(seed=2).save(emoji / "1f34e.png")
    names = tmp_path / "emoji.json"
    names.write_text(json.dumps([
        {"image": "1f600.png", "name": "GRINNING FACE", "short_name": "grinning", "category": "Smileys"},
        {"image": "1f34e.png", "name": None, "short_name": "red_apple", "category": "Food"},
        {"image": "gone.png", "name": "GONE", "short_name": "gone", "category": "Food"},
    ]))  # fmt: skip
    workspace = Workspace(tmp_path / "work")
    sources = Source.of_folder("emoji", emoji), Source.of_file("names", names)
    made = workspace.step(prepare_pictures, PicturesConfig(layout="emoji"), *sources, kind="pictures")
    texts = {*load_pictures(made.path, "train").texts, *load_pictures(made.path, "heldout").texts}
    assert texts == {"grinning face", "red apple"}
    (digits / "3.json").write_text('{"data": [0.5, 0.5]}')
    with pytest.raises(DataError, match=r"3\.json does not hold pictures"):
        prepared(digits, layout="digits")


def test_what_is_no_picture_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnreadablePictureError):
        read_picture(tmp_path / "x.png")
    noise((30, 30)).save(tmp_path / "large.png")
    with pytest.raises(UnreadablePictureError, match="30 × 30 pixels are too many"):
        read_picture(tmp_path / "large.png", most_pixels=100)


def test_the_middle_is_kept() -> None:
    wide = Image.new("L", (30, 10))
    wide.paste(255, (10, 0, 20, 10))
    square, done = fit_square(wide, 10)
    assert (np.asarray(square) == 255).all() and "the middle of it" in done
    assert fit_square(square, 10) == (square, "")


def test_nothing_prepared_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Prepare them first"):
        load_pictures(tmp_path, "train")
