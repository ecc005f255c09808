"""Tiles: every pixel counts once, and what is made of a picture by tiles is what is made of it whole."""

from __future__ import annotations

from itertools import count, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genwerk.core.errors import ModelError
from genwerk.generators.tiling import blend, reflected, strips


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4), st.integers(2, 24), st.integers(0, 60), st.data())
def test_over_all_tiles_a_pixel_counts_once(step: int, tile: int, more: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tile - 1))
    length = step * (tile + more)
    found = strips(length, step * tile, step * overlap, step=step)
    counted = torch.zeros(length)
    for strip in found:
        counted[strip.place] += strip.weights
        assert strip.place.start % step == 0 and strip.place.stop <= length and (strip.weights > 0).all()
    assert torch.allclose(counted, torch.ones(length), atol=1e-5)
    places = [strip.place for strip in found]
    assert places[0].start == 0 and places[-1].stop == length
    assert all(before.stop - after.start >= step * overlap for before, after in pairwise(places))


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.integers(0, 7), st.integers(1, 9))
def test_what_looks_at_a_pixel_alone_is_the_same_by_tiles(height: int, width: int, overlap: int, together: int) -> None:
    x = torch.randn(2, 3, height, width)

    def work(tiles: Tensor, told: Tensor) -> Tensor:
        return 2.0 * tiles + told.square() - 1.0

    down, across = strips(height, 8, overlap), strips(width, 8, overlap)
    assert torch.allclose(blend(work, (x, x), down, across, together), work(x, x), atol=1e-5)


def test_every_draw_gets_what_was_made_of_it() -> None:
    x, seen = torch.arange(3.0)[:, None, None, None].expand(3, 1, 20, 12), []

    def work(tiles: Tensor) -> Tensor:
        seen.append(len(tiles))
        return tiles

    assert torch.allclose(blend(work, (x,), strips(20, 8, 4), strips(12, 8, 4), 7), x)
    assert seen == [6, 6, 6, 6]  # 4 × 2 tiles of 3 draws, two tiles at once


@pytest.mark.parametrize(("overlap", "steepest"), [(0, 1.0), (8, 0.25)])
def test_tiles_that_disagree_pass_into_each_other_over_the_overlap(overlap: int, steepest: float) -> None:
    """Each tile says a number of its own; without an overlap that is a seam."""
    numbers, x = count(), torch.zeros(1, 1, 16, 48)

    def work(tiles: Tensor) -> Tensor:
        return torch.full_like(tiles, float(next(numbers)))

    made = blend(work, (x,), strips(16, 16, overlap), strips(48, 16, overlap), 1)
    steps = made[0, 0, 0].diff()
    assert made[0, 0].std(0).max() < 1e-6 and steps.min() >= -1e-6
    assert float(steps.max()) == pytest.approx(steepest, abs=0.06)


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "step"), [(7, 8, 2, 1), (8, 8, 8, 1), (9, 8, 2, 2), (8, 4, 1, 2)]
)
def test_what_cannot_be_covered_is_refused(length: int, tile: int, overlap: int, step: int) -> None:
    with pytest.raises(ModelError, match="cannot be covered"):
        strips(length, tile, overlap, step=step)


def test_small_pictures_are_reflected_however_small() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0]])
    assert reflected(x, 1, 8).tolist() == [[1, 2, 3, 3, 2, 1, 1, 2]]
    assert reflected(torch.ones(1, 1, 1, 1), 4, 4).shape == (1, 1, 4, 4)
    assert torch.equal(reflected(x, 1, 2), x)
