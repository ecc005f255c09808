"""Noise of draws: the same alone or among many, other ones with every call and every seed."""

from __future__ import annotations

import torch

from genwerk.generators.noise import Noise


def test_a_draw_is_the_same_alone_and_among_many() -> None:
    among = Noise(7, 8)
    calls = [among.draw((2, 3)) for _ in range(3)]
    for index in range(8):
        alone = Noise(7, 1, first=index)
        for call in calls:
            assert torch.equal(alone.draw((2, 3))[0], call[index])


def test_draws_calls_and_seeds_differ() -> None:
    noise = Noise(7, 2)
    first, second = noise.draw((4,)), noise.draw((4,))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first, second)
    assert not torch.equal(first, Noise(8, 2).draw((4,)))


def test_it_is_standard_normal() -> None:
    drawn = Noise(0, 100).draw((1000,))
    assert abs(float(drawn.mean())) < 0.02 and abs(float(drawn.std()) - 1) < 0.02
