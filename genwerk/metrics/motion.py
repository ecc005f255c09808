"""Clips in which one bright thing moves: does it keep to a line, does it keep its light, and how fast is it?

    c_t           centre of mass of frame t, in pixels
    off the line  sqrt( mean_t | c_t - l(t) |² ), where l is made of at most three straight pieces for each direction:
                  the best of all such, by dynamic programming; a new piece is a bounce
    flicker       standard deviation of the light of frames, divided by its mean
    speed         median of | c_(t+1) - c_t |, pixels from frame to frame

Source: Bellman (1961), On the approximation of curves by line segments using dynamic programming.

Three pieces suffice for two bounces in a direction; of what bounces more often the third bounce counts as an error, so
real clips give what to compare with. A frame without light has its centre in the middle.

Left out: form, which a classifier of frames is asked about (evaluation/clips.py).
Try it:   pytest tests/metrics/test_motion.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["centres", "flicker", "off_the_line", "speed"]

Values = NDArray[np.float64]


def centres(clips: NDArray[np.floating]) -> Values:
    """(N, T, H, W) light from 0 up to (N, T, 2) row and column."""
    height, width = clips.shape[-2:]
    light = clips.sum((-2, -1), dtype=np.float64)
    there = np.maximum(light, 1e-12)
    rows = (clips.sum(-1) * np.arange(height)).sum(-1) / there
    columns = (clips.sum(-2) * np.arange(width)).sum(-1) / there
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    return np.where(light[..., None] > 1e-12, np.stack([rows, columns], -1), middle)


def off_the_line(path: Values, *, pieces: int = 3) -> Values:
    """(N, T, 2) to (N,) pixels."""
    count, frames, _ = path.shape
    along = path.transpose(0, 2, 1).reshape(-1, frames)  # (N 2, T)
    error = _errors(along)
    best = error[:, 0]  # (N 2, T): of frames 0 … t by one piece
    for _ in range(pieces - 1):
        more = [best[:, :1]]
        for last in range(1, frames):
            by_break = best[:, :last] + error[:, 1 : last + 1, last]  # the last piece begins at 1 … last
            more.append(np.minimum(best[:, last], by_break.min(1))[:, None])
        best = np.concatenate(more, 1)
    found: Values = np.sqrt(best[:, -1].reshape(count, 2).sum(1) / frames)
    return found


def flicker(clips: NDArray[np.floating]) -> Values:
    """(N, T, H, W) light from 0 up to (N,)."""
    light = clips.sum((-2, -1), dtype=np.float64)
    found: Values = light.std(1) / np.maximum(light.mean(1), 1e-12)
    return found


def speed(path: Values) -> Values:
    """(N, T, 2) to (N,) pixels from frame to frame."""
    found: Values = np.median(np.linalg.norm(np.diff(path, axis=1), axis=-1), 1)
    return found


def _errors(along: Values) -> Values:
    """(M, T) to (M, T, T): squares that the best line from frame i to frame j leaves; infinite where j < i."""
    frames = along.shape[1]
    error = np.full((len(along), frames, frames), np.inf)
    for first in range(frames):
        for last in range(first, frames):
            part = along[:, first : last + 1]
            part = part - part.mean(1, keepdims=True)
            time = np.arange(last - first + 1) - (last - first) / 2
            slope = part @ time / max(float(time @ time), 1e-12)
            error[:, first, last] = (part**2).sum(1) - slope**2 * (time @ time)
    return error.clip(min=0.0)
