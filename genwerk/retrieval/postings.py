"""Postings: for every term the rows it stands in and how often, as arrays that may lie on disk unread.

    hashes   (V,)     uint64   of the terms, in order: a term is found by bisection, without any table in memory
    starts   (V + 1,) int64    rows[starts[t]:starts[t + 1]] are those of term t
    rows     (P,)     uint32   in order within a term
    counts   (P,)     uint16   how often the term stands there; 65,535 stands for more
    lengths  (n,)     uint32   terms in each row

Chosen:   counted in blocks, so that a million rows are turned round in twice the memory of the result.
Left out: compressed numbers; scores computed beforehand, which would be wrong for every reader who may see only a part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

__all__ = ["Postings", "hash_of", "load_postings", "make_postings", "save_postings"]

_BLOCK = 4096  # rows
_MOST = np.iinfo(np.uint16).max
_ARRAYS = {"hashes": np.uint64, "starts": np.int64, "rows": np.uint32, "counts": np.uint16, "lengths": np.uint32}


@dataclass(frozen=True, eq=False, slots=True)
class Postings:
    """Postings of rows 0 to n; see the header for the arrays."""

    hashes: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def find(self, term: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows (p,) that `term` stands in, and its counts (p,)."""
        wanted = np.uint64(hash_of(term))
        place = int(np.searchsorted(self.hashes, wanted))
        if place == len(self.hashes) or self.hashes[place] != wanted:
            return self.rows[:0], self.counts[:0]
        own = slice(int(self.starts[place]), int(self.starts[place + 1]))
        return self.rows[own], self.counts[own]


def hash_of(term: str) -> int:
    """64 bits by which a term is known; two among a million are the same with a chance of 1 in 37 million."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def make_postings(texts: Iterable[Sequence[str]]) -> Postings:
    """Postings of rows given as their terms."""
    numbers: dict[str, int] = {}
    blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    lengths: list[int] = []
    iterator = iter(texts)
    while block := list(islice(iterator, _BLOCK)):
        found = [numbers.setdefault(term, len(numbers)) for terms in block for term in terms]
        own = [len(terms) for terms in block]
        rows = np.repeat(np.arange(len(lengths), len(lengths) + len(block), dtype=np.int64), own)
        keys, counts = np.unique(np.array(found, dtype=np.int64) << 32 | rows, return_counts=True)
        blocks.append(
            ((keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.uint32),
             np.minimum(counts, _MOST).astype(np.uint16))
        )  # fmt: skip
        lengths += own
    hashed = np.fromiter((hash_of(term) for term in numbers), dtype=np.uint64, count=len(numbers))
    order = np.argsort(hashed, kind="stable")
    place = np.empty(len(numbers), dtype=np.int64)
    place[order] = np.arange(len(numbers))
    starts, rows, counts = _turn([(place[terms], rows, counts) for terms, rows, counts in blocks], len(numbers))
    return Postings(hashed[order], starts, rows, counts, np.array(lengths, dtype=np.uint32))


def _turn(
    blocks: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks of (term, row, count) in order of rows → (starts, rows, counts) in order of terms, then rows."""
    starts = np.zeros(size + 1, dtype=np.int64)
    for terms, _, _ in blocks:
        starts[1:] += np.bincount(terms, minlength=size)
    np.cumsum(starts, out=starts)
    rows, counts = np.empty(starts[-1], dtype=np.uint32), np.empty(starts[-1], dtype=np.uint16)
    free = starts[:-1].copy()
    for terms, own_rows, own_counts in blocks:
        order = np.argsort(terms, kind="stable")
        terms = terms[order]
        firsts = np.flatnonzero(np.diff(terms, prepend=-1))
        many = np.diff(firsts, append=len(terms))
        places = free[terms] + np.arange(len(terms)) - np.repeat(firsts, many)
        rows[places], counts[places] = own_rows[order], own_counts[order]
        free[terms[firsts]] += many
    return starts, rows, counts


def save_postings(postings: Postings, folder: Path) -> None:
    """Write one file for each array into a folder that appears as a whole afterwards."""
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(postings, name), allow_pickle=False)


def load_postings(folder: Path) -> Postings:
    """Postings whose arrays are read from disk as they are needed. Raises OSError or ValueError for damaged ones."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    for name, kind in _ARRAYS.items():
        if arrays[name].dtype != kind or arrays[name].ndim != 1:
            raise ValueError(f"{name}.npy holds {arrays[name].dtype}, not {np.dtype(kind)}")
    hashes, starts, rows = arrays["hashes"], arrays["starts"], arrays["rows"]
    if len(starts) != len(hashes) + 1 or int(starts[-1]) != len(rows) or len(rows) != len(arrays["counts"]):
        raise ValueError("the arrays do not belong together")
    return Postings(**arrays)
