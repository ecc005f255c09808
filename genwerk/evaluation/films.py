"""Clips to be looked at: film strips, and pictures that move, as GIF and as PNG (APNG).

A clip is a tensor (T, H, W) from -1 to 1, its frames in the place of channels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from genwerk.evaluation.grids import grid

__all__ = ["film", "strips"]

_PAUSE = 100  # milliseconds from frame to frame
_WIDEST = 1200


def strips(clips: Sequence[Tensor]) -> NDArray[np.uint8]:
    """(H, W, 3): a clip a row, frame after frame."""
    return grid([clip[:, None].unbind() for clip in clips], widest=_WIDEST)


def film(clips: Sequence[Tensor], kind: str = "GIF") -> bytes:
    """A file that plays all clips at once, side by side, again and again; kind: GIF or PNG."""
    columns = math.ceil(math.sqrt(len(clips)))
    rows = [clips[start : start + columns] for start in range(0, len(clips), columns)]
    first, *others = [
        Image.fromarray(grid([[clip[time][None] for clip in row] for row in rows])[..., 0])
        for time in range(len(clips[0]))
    ]
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=_PAUSE, loop=0)
    return buffer.getvalue()
