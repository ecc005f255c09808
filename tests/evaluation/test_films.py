"""Clips and sound as files that people open: what is written is read back."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from genwerk.data.mel import BANDS
from genwerk.evaluation.films import film, strips
from genwerk.evaluation.sound import in_a_row
from genwerk.evaluation.spectrograms import spectrograms


def clips(count: int, frames: int = 5) -> list[torch.Tensor]:
    """A bright row that falls, frame by frame."""
    x = -torch.ones(count, frames, 8, 8)
    for time in range(frames):
        x[:, time, time] = 1.0
    return list(x)


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_a_film_plays_every_frame_again_and_again(kind: str) -> None:
    image = Image.open(io.BytesIO(film(clips(3), kind)))
    assert (image.format, image.n_frames, image.info["loop"], image.info["duration"]) == (kind, 5, 0, 100)
    across = 2 * (8 + 2) + 2
    times = image.width // across
    for time in range(5):
        image.seek(time)
        frame = np.asarray(image.convert("L"))[::times, ::times]
        assert frame.shape == (across, across) and frame[2 + time, 2:10].min() == 255 and frame[7, 2:10].max() == 0
        assert frame[12:20, 12:20].max() == 238  # where a fourth clip would be


def test_a_strip_shows_the_frames_from_left_to_right() -> None:
    picture = strips(clips(2))
    times = picture.shape[1] // (5 * 10 + 2)
    small = picture[::times, ::times, 0]
    assert small.shape == (22, 52)
    for time in range(5):
        frame = small[12:20, 2 + 10 * time : 10 + 10 * time]
        assert frame[time].min() == 255 and frame.sum() == 8 * 255


def test_spectrograms_have_axes_and_show_what_is_loud() -> None:
    pictures = np.zeros((3, BANDS, 16), np.uint8)
    pictures[0, 10] = 255
    drawn = spectrograms([("real", pictures), ("drawn", pictures[:2])]).astype(int)
    assert drawn.ndim == 3 and drawn.shape[2] == 3
    bright = (drawn.min(2) > 180) & (drawn[..., 0] - drawn[..., 2] > 40)
    rows = np.flatnonzero(bright.any(1))
    assert len(rows) == 6 and rows[2] - rows[0] == 2  # one band in each of two rows, three pixels each


def test_sounds_follow_each_other_softly() -> None:
    sound = in_a_row([np.ones(1000), -np.ones(1000)])
    assert len(sound) == 2000 + 4800 and sound[0] == sound[999] == sound[-1] == 0
    assert sound[500] == 1 and sound[-500] == -1 and not sound[1000:5800].any()
