"""Search by meaning: every vector is looked at, first in bytes, then the best ones exactly.

    near(c)  = s_c (q8 · c8)               for all rows: c8 = round(c / s_c), s_c = max |c| / 127; q8 alike
    cos(c)   = q · c                       from the truth, for those of the best `4 k`, at least 512, with
                                           near(c) >= near(k-th) - 8 sqrt((s² + s_q²) / 12), s the largest s_c

A number rounded to steps of s is off by s / sqrt(12) in the standard deviation, and so is a product with a vector of
length 1: what lies 8 of them lower is not among the best. Each vector that is not read spares a page of the truth.

Chosen:   looking at everything. A million vectors of 384 bytes are read in the time that two cores take for 0.4 GB, and
          what is found never depends on what a reader may not see; in a graph of neighbours (HNSW) the way to a row
          leads over hidden ones. docs/decisions/0013-search-structures.md has the measurement.
Left out: more than one question at a time.
Try it:   python benchmarks/scale.py --chunks 10000
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from genwerk.core.machine import threads_to_use
from genwerk.retrieval.bm25 import best_rows
from genwerk.retrieval.native import load_kernels

__all__ = ["ByteVectors", "Scan"]

_AT_LEAST, _TIMES = 512, 4
_SURE = 8
_SHARED = 1 << 15  # rows from which on a question is worth several threads
_BLOCK = 1 << 14
_HIDDEN = -2.0  # below every product of vectors of length 1

Exactly = Callable[[np.ndarray], np.ndarray]


class ByteVectors:
    """Vectors (n, D) of length 1 as signed bytes (n, D), scales (n,) float32 and sums of the bytes (n,) int32."""

    def __init__(self, bytes_: np.ndarray, scales: np.ndarray, sums: np.ndarray) -> None:
        self.bytes, self.scales, self.sums = bytes_, scales, sums

    def __len__(self) -> int:
        return len(self.scales)

    @classmethod
    def of(cls, vectors: np.ndarray) -> ByteVectors:
        """Round vectors (n, D)."""
        vectors = vectors.astype(np.float32)
        scales = np.maximum(np.abs(vectors).max(1, initial=0.0), 1e-12) / np.float32(127)
        bytes_ = np.rint(vectors / scales[:, None]).astype(np.int8)
        return cls(bytes_, scales, bytes_.sum(1, dtype=np.int32))

    def save(self, folder: Path) -> None:
        """Write three arrays."""
        for name, array in (("bytes", self.bytes), ("scales", self.scales), ("sums", self.sums)):
            np.save(folder / f"{name}.npy", array, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, dimension: int) -> ByteVectors:
        """Arrays that are read from disk as they are needed. Raises OSError or ValueError for damaged ones."""
        bytes_, scales, sums = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("bytes", "scales", "sums")
        )
        kinds = (bytes_.dtype, scales.dtype, sums.dtype) == (np.int8, np.float32, np.int32)
        if not kinds or bytes_.shape != (len(scales), dimension) or len(sums) != len(scales):
            raise ValueError("the arrays do not belong together")
        return cls(bytes_, np.array(scales), np.array(sums))

    def near(self, query: np.ndarray) -> np.ndarray:
        """(n,) float32: about the products with `query` (D,)."""
        scale = _step(query)
        return _products(self, np.rint(query / scale).astype(np.int32), scale)


class Scan:
    """The search by meaning over parts whose rows follow each other.

    exactly   vectors (m, D) of rows (m,), from the truth.
    """

    def __init__(self, parts: Sequence[ByteVectors], exactly: Exactly) -> None:
        self.parts, self._exactly = tuple(parts), exactly

    def top(self, query: np.ndarray, k: int, visible: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The `k` rows nearest to `query` (D,) of those that are `visible` (n,), ties of the last too; cosines."""
        each = [part.near(query) for part in self.parts if len(part)]
        near = each[0] if len(each) == 1 else np.concatenate([np.zeros(0, dtype=np.float32), *each])
        if visible is not None:
            near[~visible] = _HIDDEN
        rows, products = best_rows(near, max(_AT_LEAST, _TIMES * k), _HIDDEN)
        if len(rows) > k:
            off = math.sqrt((float(self._scales(rows).max()) ** 2 + _step(query) ** 2) / 12)
            rows = rows[products >= np.partition(products, len(rows) - k)[len(rows) - k] - _SURE * off]
        cosines = self.cosines(query, rows)
        if len(rows) > k:
            kept = cosines >= np.partition(cosines, len(rows) - k)[len(rows) - k]
            rows, cosines = rows[kept], cosines[kept]
        return rows, cosines

    def cosines(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(m,) float32 of rows (m,); each the same in any company."""
        return np.asarray((self._exactly(rows).astype(np.float32) * query.astype(np.float32)).sum(1))

    def _scales(self, rows: np.ndarray) -> np.ndarray:
        """(m,) of rows (m,), which go up."""
        starts = np.cumsum([0, *map(len, self.parts)])
        each = np.split(rows, np.searchsorted(rows, starts[1:-1]))
        return np.concatenate(
            [part.scales[own - start] for part, own, start in zip(self.parts, each, starts[:-1], strict=True)]
        )


def _step(query: np.ndarray) -> float:
    """Between two bytes of a question (D,)."""
    return max(float(np.abs(query).max(initial=0.0)), 1e-12) / 127


def _products(vectors: ByteVectors, query: np.ndarray, scale: float) -> np.ndarray:
    """(n,) float32: sums of bytes times bytes, exact, times both scales."""
    kernels = load_kernels()
    if kernels is None:
        blocks = range(0, len(vectors), _BLOCK)
        whole = query.astype(np.float32)  # sums below 2^24 are exact
        sums = np.concatenate([np.zeros(0, np.float32), *(vectors.bytes[n : n + _BLOCK] @ whole for n in blocks)])
        return np.asarray(sums * (np.float32(scale) * vectors.scales))
    out = np.empty(len(vectors), dtype=np.float32)
    moved = (query + 128).astype(np.uint8)
    threads = _threads() if len(vectors) >= _SHARED else 1
    ends = np.linspace(0, len(vectors), threads + 1).astype(int).tolist()

    def work(place: int) -> None:
        first, last = ends[place], ends[place + 1]
        sums, scales = _at(vectors.sums, first), _at(vectors.scales, first)
        kernels.genwerk_scan(_at(vectors.bytes, first), last - first, len(query), moved.ctypes.data, sums, scales,
                             scale, _at(out, first))  # fmt: skip

    if threads == 1:
        work(0)
    else:
        list(_pool().map(work, range(threads)))
    return out


def _at(array: np.ndarray, row: int) -> int:
    return int(array.ctypes.data + row * array.strides[0])


@cache
def _threads() -> int:
    return min(8, threads_to_use())


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads(), thread_name_prefix="scan")
