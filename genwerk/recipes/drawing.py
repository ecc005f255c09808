"""`genwerk generate` for pictures: from a stored generator and what is asked of it to a grid in a file."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.data.picture_files import UnreadablePictureError, pixels_of, read_picture
from genwerk.evaluation.grids import grid, save_picture
from genwerk.generators.family import Ask, sample
from genwerk.generators.picture_examples import to_numbers
from genwerk.generators.storage import Stored, load_family

__all__ = ["Drawing", "ask_for", "draw", "picture_of"]


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the command line asks; 0, none and empty text leave it to the model."""

    prompt: str = ""
    n: int = 16
    seed: int = 0
    steps: int = 0
    guidance: float = 1.0
    solver: str = ""
    start: Path | None = None
    strength: float = 1.0
    mask: Path | None = None
    average: float = 0.0


def draw(model: Path, drawing: Drawing, out: Path) -> str:
    """Write a grid of pictures to `out` and say what was drawn. Raises RequestError, ModelError."""
    stored = load_family(model, average=drawing.average or None)
    ask = ask_for(stored, drawing)
    started = time.perf_counter()
    made = sample(stored.family, ask, show=True)
    spent = time.perf_counter() - started
    columns = math.ceil(math.sqrt(len(made)))
    rows = [made[row : row + columns].unbind() for row in range(0, len(made), columns)]
    save_picture(grid(rows), out)
    return f"{len(made)} pictures of {stored.name} in {spent:.1f} s, seed {drawing.seed}: {out}"


def ask_for(stored: Stored, drawing: Drawing) -> Ask:
    """The same as the generator understands it."""
    asked: dict[str, Any] = {"guidance": drawing.guidance, "strength": drawing.strength}
    if drawing.steps:
        asked["steps"] = drawing.steps
    if drawing.solver:
        asked["solver"] = drawing.solver
    names = stored.asked_by(drawing.prompt)
    if names:
        asked["given"] = stored.given([names[index % len(names)] for index in range(drawing.n)])
    if drawing.start is not None:
        asked["start"] = picture_of(drawing.start, stored.family.space.picture).expand(drawing.n, -1, -1, -1)
    if drawing.mask is not None:
        anew = picture_of(drawing.mask, (1, *stored.family.space.picture[1:])) > 0
        asked["keep"] = (~anew).expand(drawing.n, *stored.family.space.shape)
    return Ask(drawing.n, drawing.seed, **asked)


def picture_of(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """(1, C, H, W) from -1 to 1. Raises RequestError: not there, no picture, of another size than (C, H, W)."""
    try:
        image = read_picture(path).image
    except (UnreadablePictureError, FileNotFoundError) as error:
        raise RequestError(f"{path} cannot be read: {error}", param="start", remedy="Give a picture file.") from None
    channels, height, width = shape
    if image.size != (width, height):
        what = f"{path.name} has {image.width} × {image.height} pixels, the model makes {width} × {height}"
        raise RequestError(what, param="start", remedy="Bring it to that size first.")
    return to_numbers(pixels_of(image, grey=channels == 1))[None]
