"""Measures of style transfer and of attributes, where what must come out is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genwerk.core.errors import DataError
from genwerk.data.pictures import PictureSet
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.plots import attribute_sweep
from genwerk.evaluation.scored import Exhibit, Scored, joined
from genwerk.evaluation.transfer import in_threes, paired
from genwerk.generators.picture_examples import to_numbers


def two_styles(things: int = 12) -> PictureSet:
    """Each thing is a value of its own, dark in one style and bright in the other; one name comes twice."""
    values = np.arange(things)
    pixels = np.concatenate([values, values + 100]).astype(np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)
    texts = [f"thing {max(1, index)}" for index in range(things)] * 2
    return PictureSet(pixels, np.repeat([0, 1], things), tuple(texts), ("dark", "bright"))


def test_each_picture_is_paired_with_the_same_thing_in_the_other_style() -> None:
    pairs = paired(two_styles(), 100, 0)
    assert len(pairs.x) == 20  # ten of twelve names are of one thing, each way
    value, truth, random = (((one[:, 0, 0, 0] + 1) * 127.5).round() for one in (pairs.x, pairs.truth, pairs.random))
    sign = torch.from_numpy(np.where(pairs.target == 1, 100, -100))
    assert torch.equal(truth, value + sign) and bool((random != truth).all())
    assert np.array_equal(pairs.source, 1 - pairs.target) and bool(((random >= 100) == (sign > 0)).all())
    assert len(paired(two_styles(), 6, 0).x) == 6


def test_without_pairs_there_is_nothing_to_measure() -> None:
    some = two_styles()
    with pytest.raises(DataError, match="0 held-out pictures are there in another class"):
        paired(PictureSet(some.pixels, some.labels, ("",) * len(some), some.classes), 10, 0)


def test_three_by_three_they_stand_side_by_side() -> None:
    x = to_numbers(two_styles().pixels)
    rows = in_threes(x[:10], x[:10] + 0.1, x[:10] + 0.2)
    assert [len(row) for row in rows] == [15, 15, 7]
    assert torch.equal(rows[1][4], x[5]) and torch.equal(rows[1][6], x[5] + 0.2)


def test_several_scores_become_one() -> None:
    first = Scored({"n": 3}, [Measure("pictures.recall", 0.5, 3, "")], "One.", [Exhibit("a.png", "a")], limits=["x"])
    second = Scored({"n": 4}, [Measure("transfer.style", 0.5, 3, "")], "Two.", [Exhibit("b.png", "b")], limits=["y"])
    assert list(joined([first]).measures) == list(first.measures)
    both = joined([first, second])
    assert both.settings == {"n": 3, "transfer": {"n": 4}} and both.summary == "One. Two."
    assert [one.file for one in both.exhibits] == ["a.png", "b.png"] and list(both.limits) == ["x", "y"]


def test_the_sweep_of_an_attribute_is_drawn() -> None:
    svg = attribute_sweep((0.0, 1.0, 2.0), (0.1, 0.5, 0.9), (0.0, 0.4, 0.8), name="attribute", description="smiling")
    assert (
        svg.startswith("<svg") and "has it 90 %" in svg and "rest moved 0.80" in svg and 'aria-label="smiling"' in svg
    )
