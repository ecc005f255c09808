"""The search by meaning finds what looking at every vector exactly finds, with and without native kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genwerk.retrieval import scan
from genwerk.retrieval.native import load_kernels
from genwerk.retrieval.scan import ByteVectors, Scan


def unit(rows: int, dimension: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("dimension", [1, 7, 48, 384])
def test_products_of_bytes_are_exact(native: bool, dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(scan, "load_kernels", lambda: None)
    elif load_kernels() is None:
        pytest.skip("there is no C++ compiler")
    vectors = ByteVectors.of(unit(40_001, dimension, 0))
    query = np.random.default_rng(1).integers(-127, 128, size=dimension)
    expected = (vectors.bytes.astype(np.int64) @ query) * (np.float32(0.5) * vectors.scales)
    assert np.allclose(scan._products(vectors, query, 0.5), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("native", [True, False])
def test_the_best_are_found_as_by_looking_at_all(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(scan, "load_kernels", lambda: None)
    vectors, queries = unit(20_000, 384, 0), unit(20, 384, 1)
    parts = [ByteVectors.of(vectors[:12_000]), ByteVectors.of(vectors[12_000:])]
    searched = Scan(parts, lambda rows: vectors[rows])
    for query in queries:
        rows, cosines = searched.top(query, 100)
        order = rows[np.lexsort((rows, -cosines))]
        exact = (vectors * query).sum(1)
        assert order.tolist() == np.lexsort((np.arange(20_000), -exact))[:100].tolist()


def test_only_what_rounding_may_have_put_back_is_read() -> None:
    vectors, queries = unit(20_000, 384, 0), unit(20, 384, 1)
    copies = vectors[:9] + np.random.default_rng(2).normal(size=(200, 9, 384)) * 1e-3
    vectors[-1800:] = copies.reshape(-1, 384) / np.linalg.norm(copies.reshape(-1, 384), axis=1, keepdims=True)
    read = list[int]()

    def exactly(rows: np.ndarray) -> np.ndarray:
        read.append(len(rows))
        return vectors[rows]

    searched = Scan([ByteVectors.of(part) for part in np.split(vectors, [700, 12_000])], exactly)
    for query in (*queries, *vectors[:9]):
        rows, _ = searched.top(query, 20)
        exact = (vectors * query).sum(1)
        assert set(rows) == set(np.flatnonzero(exact >= np.sort(exact)[-20]))
    assert max(read[:20]) < 100 and max(read[20:]) > 150, "512 at most, where so many are alike"


def test_what_is_hidden_is_not_found_and_changes_nothing() -> None:
    vectors, query = unit(3000, 32, 0), unit(1, 32, 1)[0]
    visible = np.random.default_rng(2).random(3000) < 0.3
    rows, cosines = Scan([ByteVectors.of(vectors)], lambda some: vectors[some]).top(query, 10, visible)
    alone = vectors[visible]
    own, expected = Scan([ByteVectors.of(alone)], lambda some: alone[some]).top(query, 10)
    assert visible[rows].all() and sorted(np.flatnonzero(visible)[own]) == sorted(rows)
    assert sorted(cosines.tolist()) == sorted(expected.tolist())


def test_on_disk_as_in_memory_and_what_is_damaged_is_refused(tmp_path: Path) -> None:
    made = ByteVectors.of(unit(50, 16, 0))
    made.save(tmp_path)
    query = unit(1, 16, 1)[0]
    assert np.array_equal(ByteVectors.load(tmp_path, 16).near(query), made.near(query))
    with pytest.raises(ValueError, match="belong together"):
        ByteVectors.load(tmp_path, 17)


def test_nothing_to_search_and_vectors_of_zeros() -> None:
    nothing = Scan([ByteVectors.of(np.zeros((0, 8)))], lambda rows: np.zeros((len(rows), 8)))
    assert nothing.top(np.ones(8, dtype=np.float32), 5)[0].tolist() == []
    zeros = Scan([ByteVectors.of(np.zeros((3, 8)))], lambda rows: np.zeros((len(rows), 8)))
    assert zeros.top(np.ones(8, dtype=np.float32), 5)[1].tolist() == [0, 0, 0]
