"""`genwerk enlarge`: one picture file to a larger one, with a bar, and with what had to be changed said aloud."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.core.machine import probe
from genwerk.core.progress import Bar, say, track
from genwerk.data.picture_files import UnreadablePictureError, pixels_of, read_picture
from genwerk.evaluation.grids import save_picture
from genwerk.generators.family import Ask, Family, check_ask
from genwerk.generators.picture_examples import to_numbers, to_pixels
from genwerk.generators.storage import load_family
from genwerk.generators.super_resolution import SCALE, SuperResolution

__all__ = ["Enlarging", "enlarge_file"]

_COPIES = 16  # of the large picture in float32 while a step of Heun is taken, measured
_BESIDE = 1_000_000_000  # bytes of the process itself and of the tiles that are computed together


@dataclass(frozen=True, slots=True)
class Enlarging:
    """What the command line asks; 0 and empty text leave it to the model. mean: one step, instead of a draw."""

    picture: Path
    out: Path
    times: int = 2
    seed: int = 0
    steps: int = 0
    solver: str = ""
    mean: bool = False


def enlarge_file(model: Path, asked: Enlarging) -> str:
    """Write the enlarged picture and say what was done. Raises RequestError, ModelError."""
    _check(asked)
    stored = load_family(model)
    family = stored.family
    if not isinstance(family, SuperResolution):
        what = f"a {stored.name} enlarges no pictures"
        raise RequestError(what, param="model", remedy="Train one: `genwerk run recipes/emoji-enlarge.yaml`.")
    x, grey = _read(asked.picture, family.space.picture[0])
    height, width = (asked.times * side for side in x.shape[-2:])
    _check_memory(width, height, x.shape[1])
    rounds = asked.times // SCALE
    steps = 1 if asked.mean else asked.steps or family.config.steps
    started = time.perf_counter()
    with track("enlarging", total=rounds * steps, unit="steps") as bar:
        for _ in range(rounds):
            x = _enlarged(stored.family, x, asked, bar)
    spent = time.perf_counter() - started
    pixels = to_pixels(x.mean(1, keepdim=True) if grey else x)[0]
    save_picture(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0), asked.out)
    drawn = "the mean of what could be" if asked.mean else f"seed {asked.seed}"
    small = f"{width // asked.times} × {height // asked.times}"
    return f"{small} became {width} × {height} in {spent:.1f} s, {drawn}: {asked.out}"


@torch.no_grad()
def _enlarged(family: Family, x: Tensor, asked: Enlarging, bar: Bar) -> Tensor:
    how: dict[str, Any] = {"steps": 1, "solver": "euler"} if asked.mean else {}
    if asked.steps and not asked.mean:
        how["steps"] = asked.steps
    if asked.solver and not asked.mean:
        how["solver"] = asked.solver
    ask = Ask(1, asked.seed, small=x, **how)
    check_ask(family, ask)
    for preview in family.frames(ask):
        x = preview.x
        bar.advance()
    return x


def _check(asked: Enlarging) -> None:
    if asked.times not in (2, 4):
        raise RequestError(f"{asked.times} times is not possible", param="times", remedy="Give 2, or 4.")
    if asked.mean and (asked.steps or asked.solver):
        remedy = "Leave --steps and --solver out, or --mean."
        raise RequestError("the mean is made in one step of Euler", param="mean", remedy=remedy)
    if asked.out.suffix.lower() != ".png":
        raise RequestError(f"{asked.out} is no PNG file", param="out", remedy="Name a file that ends with .png.")


def _read(path: Path, channels: int) -> tuple[Tensor, bool]:
    """(1, C, H, W) from -1 to 1, and whether the file is grey. Raises RequestError."""
    try:
        raw = read_picture(path)
    except (UnreadablePictureError, FileNotFoundError) as error:
        what, remedy = f"{path} cannot be read: {error}", "Give a picture file, such as PNG or JPEG."
        raise RequestError(what, param="picture", remedy=remedy) from None
    grey = raw.image.mode == "L"
    if channels == 1 and not grey:
        what = f"{path.name} is in colour, and the model makes grey pictures only"
        raise RequestError(what, param="picture", remedy="Make it grey first, or take a model of coloured pictures.")
    for rule, detail in raw.changes:
        say(f"{path.name}: {rule}, {detail}", style="yellow")
    return to_numbers(pixels_of(raw.image, grey=channels == 1))[None], grey


def _check_memory(width: int, height: int, channels: int) -> None:
    need, free = 4 * _COPIES * channels * width * height + _BESIDE, probe().available_bytes
    if need > free:
        what = (
            f"a picture of {width} × {height} needs {need / 1e9:.1f} GB while it is made, and {free / 1e9:.1f} are free"
        )
        raise RequestError(what, param="picture", remedy="Cut it into parts, or enlarge it fewer times.")
