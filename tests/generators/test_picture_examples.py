"""What families learn from: every picture once an epoch, in an order of the seed's, and numbers that come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from picture_world import examples, pictures

from genwerk.core.errors import DataError
from genwerk.generators.examples import row_at
from genwerk.generators.picture_examples import PictureExamples, to_numbers, to_pixels

CPU = torch.device("cpu")


def test_every_picture_is_read_once_an_epoch() -> None:
    seen = [row_at(place, 20, (3, 0)) for place in range(40)]
    assert sorted(seen[:20]) == sorted(seen[20:]) == list(range(20)) and seen[:20] != seen[20:]
    other = [row_at(place, 20, (4, 0)) for place in range(20)]
    assert other != seen[:20]


def test_a_batch_may_reach_into_the_next_epoch() -> None:
    world = examples(20)
    batch = world.batch(16, 3, 0, turn=1, device=CPU)
    assert batch.x.shape == (16, 1, 8, 8) and batch.given is not None and batch.given.shape == (16,)
    again = world.batch(16, 3, 0, turn=1, device=CPU)
    assert torch.equal(batch.x, again.x)


def test_numbers_and_pixels_are_each_others_way_back() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_pixels(to_numbers(pixels)), pixels)
    assert to_numbers(pixels).min() == -1.0 and to_numbers(pixels).max() == 1.0
    assert to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_what_it_is_asked_by_makes_the_space() -> None:
    assert examples(8).space.classes == 2
    assert examples(8, "nothing").space.classes == 0
    vectors = torch.randn(8, 5), torch.randn(32, 5)
    world = PictureExamples(pictures(8), pictures(32, seed=1), "text", vectors)
    assert world.space.vector == 5
    held_out = world.batch_of([3], CPU, held_out=True)
    assert held_out.given is not None and torch.equal(held_out.given[0], vectors[1][3])


def test_one_class_cannot_be_asked_for(tmp_path) -> None:  # type: ignore[no-untyped-def]
    some = pictures(4)
    for split in ("train", "heldout"):
        np.save(tmp_path / f"{split}.npy", some.pixels)
        (tmp_path / f"{split}.jsonl").write_text('{"class": "a", "text": ""}\n' * 4)
    (tmp_path / "meta.json").write_text('{"classes": ["a"]}')
    with pytest.raises(DataError, match="set `ask: nothing`"):
        PictureExamples.open(tmp_path)
    assert PictureExamples.open(tmp_path, "nothing").space.classes == 0
