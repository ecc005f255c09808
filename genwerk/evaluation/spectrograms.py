"""Spectrograms to be looked at: pictures of mel.py with axes in hertz and seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from genwerk.data.fourier import HOP, RATE
from genwerk.data.mel import BANDS, HIGHEST, LOWEST, mel

__all__ = ["spectrograms"]

_TIMES = 3  # pixels of a band and of a frame
_LEFT, _TOP, _BELOW, _GAP = 62, 26, 38, 22
_INK, _PAPER = (60, 60, 60), (255, 255, 255)
_HERTZ = (100, 250, 500, 1000, 2000)
_DARK, _WARM, _LIGHT = (np.array(colour, np.float64) for colour in ((12, 10, 40), (190, 60, 90), (255, 245, 190)))


def spectrograms(rows: Sequence[tuple[str, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """(H, W, 3): a row for each name, of pictures (N, BANDS, T) side by side; dark is quiet."""
    count, frames = max(len(some) for _, some in rows), rows[0][1].shape[-1]
    across, down = frames * _TIMES, BANDS * _TIMES
    canvas = Image.new("RGB", (_LEFT + count * (across + _GAP), len(rows) * (_TOP + down + _BELOW)), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for place, (name, pictures) in enumerate(rows):
        top = place * (_TOP + down + _BELOW) + _TOP
        _write(draw, (_LEFT, top - 14), name, "lm", 15)
        for column, picture in enumerate(pictures):
            left = _LEFT + column * (across + _GAP)
            canvas.paste(Image.fromarray(_coloured(picture).repeat(_TIMES, 0).repeat(_TIMES, 1)), (left, top))
            _seconds(draw, left, top + down, frames)
        _hertz(draw, top, down)
    return np.asarray(canvas)


def _hertz(draw: ImageDraw.ImageDraw, top: int, down: int) -> None:
    for frequency in _HERTZ:
        part = float((mel(frequency) - mel(LOWEST)) / (mel(HIGHEST) - mel(LOWEST)))
        y = top + down - part * down
        draw.line([(_LEFT - 6, y), (_LEFT - 1, y)], fill=_INK)
        _write(draw, (_LEFT - 9, y), f"{frequency:,}", "rm", 12)
    _write(draw, (_LEFT - 9, top - 14), "Hz", "rm", 12)


def _seconds(draw: ImageDraw.ImageDraw, left: int, bottom: int, frames: int) -> None:
    for half in range(int(2 * frames * HOP / RATE) + 1):
        x = left + half / 2 * RATE / HOP * _TIMES
        draw.line([(x, bottom), (x, bottom + 5)], fill=_INK)
        if half % 2 == 0:
            _write(draw, (x, bottom + 14), f"{half // 2} s", "mm", 12)


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, anchor: str, size: int) -> None:
    draw.text(place, text, _INK, ImageFont.load_default(size), anchor)


def _coloured(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) to (H, W, 3)."""
    loud = picture[..., None] / 255.0
    colours = np.where(loud < 0.5, _DARK + (_WARM - _DARK) * 2 * loud, _WARM + (_LIGHT - _WARM) * (2 * loud - 1))
    return colours.round().astype(np.uint8)
