"""Pictures of pictures: grids of samples, and samples beside the real pictures they are nearest to."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist
from torch import Tensor

from genwerk.core.atomic import write_bytes
from genwerk.generators.picture_examples import to_pixels

__all__ = ["grid", "neighbours", "png", "save_picture"]

_GAP = 2
_AROUND = 238


def grid(rows: Sequence[Sequence[Tensor]], *, widest: int = 900) -> NDArray[np.uint8]:
    """(H, W, 3): rows of samples (C, H, W) from -1 to 1, with a thin line between; small ones are enlarged by whole
    numbers, up to the width `widest`."""
    rows = [row for row in rows if len(row)]
    channels, height, width = rows[0][0].shape
    columns = max(len(row) for row in rows)
    across, down = columns * (width + _GAP) + _GAP, len(rows) * (height + _GAP) + _GAP
    canvas = np.full((down, across, 3), _AROUND, np.uint8)
    for place, row in enumerate(rows):
        for column, one in enumerate(row):
            pixels = to_pixels(one).transpose(1, 2, 0)
            top, left = _GAP + place * (height + _GAP), _GAP + column * (width + _GAP)
            canvas[top : top + height, left : left + width] = np.repeat(pixels, 3, 2) if channels == 1 else pixels
    times = max(1, widest // across)
    return canvas.repeat(times, 0).repeat(times, 1)


def neighbours(
    made: Tensor, features: NDArray[np.float64], real: Tensor, real_features: NDArray[np.float64], *, count: int = 5
) -> list[list[Tensor]]:
    """A row a sample: itself, and the real pictures that are nearest to it, nearest first."""
    nearest = cdist(features, real_features).argsort(1)[:, :count]
    return [[one, *real[places.tolist()].unbind()] for one, places in zip(made, nearest, strict=True)]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, 3), or (H, W) of grey, as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def save_picture(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write a PNG file, atomically."""
    write_bytes(path, png(pixels))
