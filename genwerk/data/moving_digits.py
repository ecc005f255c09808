"""Step 1 for clips: each picture of a collection moves over a dark field, on straight lines, and bounces off its edges.

Source: Srivastava, Mansimov and Salakhutdinov (2015), Unsupervised learning of video representations using LSTMs,
section 4.1: Moving MNIST.

    p_t = fold( p_0 + t v )        v = s (cos a, sin a),  a from all directions, s between `slowest` and `fastest`
    fold(p) = r - | r - p mod 2 r |        r = what is left of the field's side beyond the ink's: a bounce at 0 and at r

    train.npy, heldout.npy   (N, T, H, W) uint8: the frames of a clip are the channels of a picture; else as pictures.py

Chosen:   clips of what was held out are made of held-out pictures alone. A picture lies between pixels, its ink shared
          among four: the centre of mass keeps to its line, which whole pixels, as in Moving MNIST, do not let it.
Left out: two pictures in a field, of which neither class nor path could be told by looking at sums; colour.
Try it:   genwerk run recipes/moving-digits.yaml
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genwerk.core.artifact import Artifact
from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.progress import track
from genwerk.core.workspace import Step
from genwerk.data.pictures import SIDES, Side, load_pictures, read_rows, write_side

__all__ = ["ClipsConfig", "move_pictures"]


class ClipsConfig(Config):
    """How long, how large and how fast."""

    frames: int = Field(16, ge=2, le=64, description="pictures in a clip")
    field: int = Field(32, ge=8, le=256, description="side of the field in pixels")
    side: int = Field(20, ge=4, le=256, description="of a picture, once it is scaled, with its margin")
    slowest: float = Field(1.0, ge=0, description="pixels from frame to frame")
    fastest: float = Field(2.5, gt=0, description="pixels from frame to frame")
    paths: int = Field(1, ge=1, description="clips of each picture")
    seed: int = Field(0, ge=0, description="of places and directions")


def move_pictures(config: ClipsConfig, step: Step, pictures: Artifact) -> Mapping[str, float | int | str]:
    """Write the clips of a pictures artifact. Raises DataError: in colour, dark all over, or larger than the field."""
    counts: dict[str, int] = {side: _move_side(config, step, pictures, side) for side in SIDES}
    shape = [config.frames, config.field, config.field]
    classes = load_pictures(pictures.path, "train").classes
    meta = {"shape": shape, "classes": classes, "texts": True, "layout": "clips"}
    write_json(step.out / "meta.json", meta)
    settings = config.model_dump(mode="json")
    write_json(step.out / "card.json", {**counts, **meta, "inputs": {"pictures": pictures.id}, "config": settings})
    return {**counts, "classes": len(classes), "shape": " × ".join(map(str, shape))}


def _move_side(config: ClipsConfig, step: Step, pictures: Artifact, side: Side) -> int:
    found, rows = load_pictures(pictures.path, side), read_rows(pictures.path, side)
    if found.pixels.shape[1] != 1:
        raise DataError("only grey pictures can be moved", where=str(pictures.path), remedy="Set `colours: grey`.")
    clips = np.empty((len(found) * config.paths, config.frames, config.field, config.field), np.uint8)
    told = list[dict[str, str]]()
    with track("moving pictures", total=len(found), unit="pictures") as bar:
        for row, (pixels,) in zip(rows, found.pixels, strict=True):
            for number, clip in enumerate(_clips(config, pixels, row), 1):
                clips[len(told)] = clip
                sha256 = hashlib.sha256(clip.tobytes()).hexdigest()
                told.append({**row, "source": f"{row['source']}, path {number}", "sha256": sha256})
            bar.advance()
    write_side(step.out, side, clips, told)
    return len(clips)


def _clips(config: ClipsConfig, pixels: NDArray[np.uint8], row: Mapping[str, str]) -> Iterator[NDArray[np.uint8]]:
    """(T, H, W) each; drawn by what the picture is, so that its path does not depend on the others."""
    ink = _ink(pixels, config.side)
    room = config.field - np.array(ink.shape)
    if ink.size == 0 or room.min() < 1:
        what = f"{ink.shape[0]} × {ink.shape[1]} pixels that are not dark cannot move in a field of {config.field}"
        raise DataError(what, where=row["source"], remedy="Give a larger `field` or a smaller `side`; or leave it out.")
    draw = np.random.default_rng([config.seed, int(row["sha256"][:16], 16)])
    for _ in range(config.paths):
        angle, speed = draw.uniform(0, 2 * np.pi), draw.uniform(config.slowest, config.fastest)
        begin = draw.uniform(0, room)
        velocity = speed * np.array([np.sin(angle), np.cos(angle)])
        places = begin + np.arange(config.frames)[:, None] * velocity  # (T, 2)
        folded = room - np.abs(room - places % (2 * room))
        yield np.stack([_laid(ink, place, config.field) for place in folded])


def _ink(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """The picture at side × side, without its dark margin."""
    small = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR), np.float64)
    down, across = (np.flatnonzero(small.any(axis)) for axis in (1, 0))
    return small[down.min() : down.max() + 1, across.min() : across.max() + 1] if small.any() else small[:0]


def _laid(ink: NDArray[np.float64], place: NDArray[np.float64], field: int) -> NDArray[np.uint8]:
    """(H, W): the ink at a place between pixels, shared among those around it."""
    height, width = ink.shape
    canvas = np.zeros((field + 1, field + 1))
    (top, left), (below, right) = place.astype(int), place % 1.0
    for down, share in ((0, 1.0 - below), (1, below)):
        for across, part in ((0, 1.0 - right), (1, right)):
            canvas[top + down : top + down + height, left + across : left + across + width] += share * part * ink
    return canvas[:field, :field].round().astype(np.uint8)
