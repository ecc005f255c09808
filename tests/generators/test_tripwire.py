"""The tripwire fires for what collapses, and for nothing that is well."""

from __future__ import annotations

import numpy as np
import pytest
from picture_world import pictures

from genwerk.generators.tripwire import Look, Tripwire


@pytest.fixture
def wire() -> Tripwire:
    some = pictures(200)
    return Tripwire(some.pixels / 127.5 - 1, some.labels)


def noisy(count: int, seed: int, spread: float = 0.05) -> np.ndarray:
    draw = np.random.default_rng(seed)
    pixels = pictures(count, seed).pixels / 127.5 - 1
    return np.asarray(pixels + spread * draw.normal(size=pixels.shape))


def test_it_stays_silent_while_all_is_well(wire: Tripwire) -> None:
    for seed in range(1, 8):
        look = wire.look(noisy(200, seed))
        assert look.why == "" and look.coverage > 0.6 and look.classes == 1.0 and look.duplicates < 0.05


def test_it_fires_when_all_samples_are_alike(wire: Tripwire) -> None:
    for seed in (1, 2, 3):
        wire.look(noisy(200, seed))
    assert "coverage fell" in wire.look(noisy(200, 4)[:1].repeat(200, 0)).why


def test_it_fires_when_most_classes_are_lost() -> None:
    draw = np.random.default_rng(0)
    middles = 10 * draw.normal(size=(10, 6))
    labels = np.arange(400) % 10
    wire = Tripwire(middles[labels] + draw.normal(size=(400, 6)), labels)
    for _ in range(2):
        assert wire.look(middles[labels] + draw.normal(size=(400, 6))).classes == 1.0
    wire.best = Look(0.1, 1.0, 0.0)
    assert "classes are left" in wire.look(middles[labels % 3] + draw.normal(size=(400, 6))).why


def test_it_fires_for_what_is_not_finite_and_for_nothing_else_at_first(wire: Tripwire) -> None:
    same = noisy(200, 4)[:1].repeat(200, 0)
    assert wire.look(same).why == "" and wire.look(same).why == ""
    assert wire.look(same).why != ""
    assert "finite" in wire.look(same * np.nan).why


def test_its_state_goes_on(wire: Tripwire) -> None:
    for seed in (1, 2, 3):
        wire.look(noisy(200, seed))
    some = pictures(200)
    other = Tripwire(some.pixels / 127.5 - 1, some.labels)
    other.load_state_dict(wire.state_dict())
    assert (other.looks, other.best) == (wire.looks, wire.best)
