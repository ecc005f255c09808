"""Precision, recall, density and coverage: by their definition, in cases known on paper, and in pieces as in one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.metrics import prdc as module
from genwerk.metrics.prdc import PRDC, prdc


def _by_definition(x: np.ndarray, y: np.ndarray, k: int) -> PRDC:
    def reach(points: np.ndarray) -> np.ndarray:
        return np.array([np.sort(np.linalg.norm(points - one, axis=1))[k] for one in points])

    apart = np.linalg.norm(x[:, None] - y[None], axis=2)
    inside = apart < reach(x)[:, None]
    return PRDC(
        inside.any(0).mean(), (apart < reach(y)[None]).any(1).mean(), inside.sum(0).mean() / k, inside.any(1).mean()
    )


def _same(found: PRDC, wanted: PRDC) -> bool:
    return all(
        getattr(found, name) == pytest.approx(getattr(wanted, name))
        for name in ("precision", "recall", "density", "coverage")
    )


@given(st.integers(0, 99), st.integers(1, 4))
def test_it_is_the_definition(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(30, 2)), random.normal(size=(25, 2)) + 0.5
    assert _same(prdc(x, y, k=k), _by_definition(x, y, k))


def test_pieces_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 3)), random.normal(size=(40, 3))
    whole = prdc(x, y)
    monkeypatch.setattr(module, "_ROWS", 7)
    assert prdc(x, y) == whole


def test_copies_of_one_real_thing_are_precise_and_cover_little() -> None:
    x = np.random.default_rng(0).normal(size=(100, 4))
    found = prdc(x, np.repeat(x[:1], 100, 0))
    assert found.precision == 1.0 and found.recall == 0.0
    assert found.coverage < 0.3


def test_another_world_is_nothing_of_all() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4))
    assert prdc(x, x + 100) == PRDC(0.0, 0.0, 0.0, 0.0)


def test_no_neighbour_is_no_ball() -> None:
    with pytest.raises(ValueError, match="k must be"):
        prdc(np.zeros((9, 2)), np.zeros((9, 2)), k=0)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_package_of_its_authors(seed: int) -> None:
    package = pytest.importorskip("prdc")
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(120, 5)), random.normal(size=(100, 5)) + 0.3
    theirs = package.compute_prdc(x, y, 5)
    assert _same(prdc(x, y, k=5), PRDC(**{name: float(theirs[name]) for name in PRDC.__slots__}))
