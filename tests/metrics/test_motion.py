"""Paths whose lines, breaks and speeds are known."""

from __future__ import annotations

import numpy as np
import pytest

from genwerk.metrics.motion import centres, flicker, off_the_line, speed


def bouncing(bounces: int, frames: int = 16) -> np.ndarray:
    """(T,): a zigzag of slope 1 with so many turns, evenly spread."""
    turns = np.linspace(0, frames, bounces + 2)[1:-1]
    slope = np.array([(-1) ** int((turns < time + 0.5).sum()) for time in range(frames - 1)])
    return np.concatenate([[0.0], slope.cumsum()])


def test_the_centre_of_light_is_where_it_is() -> None:
    clips = np.zeros((1, 3, 5, 7))
    clips[0, 0, 1, 2] = 3.0
    clips[0, 1, 0, 6], clips[0, 1, 4, 6] = 1.0, 3.0
    assert centres(clips).tolist() == [[[1.0, 2.0], [3.0, 6.0], [2.0, 3.0]]]  # the last frame is dark


@pytest.mark.parametrize("bounces", [0, 1, 2])
def test_lines_with_two_bounces_are_lines(bounces: int) -> None:
    path = np.stack([bouncing(bounces), 0.3 * np.arange(16)], -1)[None]
    assert off_the_line(path) == pytest.approx(0.0, abs=1e-6)


def test_what_is_off_is_measured_in_pixels() -> None:
    draw = np.random.default_rng(0)
    path = np.stack([np.arange(16.0), np.zeros(16)], -1)[None].repeat(200, 0)
    small, large = (off_the_line(path + size * draw.normal(size=path.shape)) for size in (0.1, 1.0))
    assert 0.05 < small.mean() < 0.15 and large.mean() == pytest.approx(10 * small.mean(), rel=0.1)
    assert off_the_line(path[:, :2]) == pytest.approx(0.0)
    three = np.stack([bouncing(3), np.zeros(16)], -1)[None]
    assert off_the_line(three) > 0.1 and off_the_line(three, pieces=4) == pytest.approx(0.0, abs=1e-6)


def test_pieces_are_the_best_that_there_are() -> None:
    """Against every pair of breaks, tried one after the other."""
    along = np.random.default_rng(1).normal(size=8)

    def error(part: np.ndarray) -> float:
        if len(part) < 3:
            return 0.0
        line = np.polyval(np.polyfit(np.arange(len(part)), part, 1), np.arange(len(part)))
        return float(((part - line) ** 2).sum())

    tried = min(error(along[:i]) + error(along[i:j]) + error(along[j:]) for i in range(1, 8) for j in range(i, 9))
    path = np.stack([along, np.zeros(8)], -1)[None]
    assert off_the_line(path)[0] == pytest.approx(np.sqrt(tried / 8))


def test_flicker_and_speed() -> None:
    clips = np.ones((2, 4, 3, 3))
    clips[1, 1] = 0.0
    assert flicker(clips)[0] == 0.0 and flicker(clips)[1] == pytest.approx(np.std([9, 0, 9, 9]) / 6.75)
    path = np.stack([3.0 * np.arange(5), 4.0 * np.arange(5)], -1)[None]
    assert speed(path).tolist() == [5.0]
