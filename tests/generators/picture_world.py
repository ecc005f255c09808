"""Small pictures that tests learn from: squares (class 0) and bars (class 1) of 8 × 8, no two alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genwerk.core.events import EventLog
from genwerk.core.workspace import Step
from genwerk.data.pictures import PictureSet
from genwerk.generators.picture_examples import PictureExamples


def pictures(count: int, seed: int = 0, channels: int = 1) -> PictureSet:
    draw = np.random.default_rng(seed)
    pixels = np.zeros((count, channels, 8, 8), np.uint8)
    for index in range(count):
        top, left = draw.integers(0, 4, 2)
        if index % 2 == 0:
            pixels[index, :, top : top + 4, left : left + 4] = draw.integers(180, 256, (channels, 1, 1))
        else:
            pixels[index, :, :, left : left + 2] = draw.integers(180, 256, (channels, 1, 1))
    labels = np.arange(count, dtype=np.int64) % 2
    return PictureSet(pixels, labels, ("",) * count, ("square", "bar"))


def examples(count: int = 64, by: str = "class") -> PictureExamples:
    return PictureExamples(pictures(count), pictures(32, seed=1), by)


def step_in(folder: Path) -> Step:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Step("0" * 16, folder / "out", folder / "scratch", EventLog(folder))
