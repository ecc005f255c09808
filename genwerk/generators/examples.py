"""What a family learns from, whatever it is: batches in an order that follows from (seed, turn)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from genwerk.generators.family import Batch, Space
from genwerk.training.seeding import generator

__all__ = ["Examples", "row_at", "rows_of"]


class Examples(Protocol):
    """space: where they lie; unit: what they are called; layout: what they stand for, see data/; counts: how many are
    learned from, and how many held out; classes: their names.

    batch      of this turn (from 0), in which every epoch reads each once; keys: of the random order
    batch_of   these rows of what is learned from, or of what is held out
    labels_of  (B,) classes of rows that are learned from, asked for or not; -1: none
    """

    unit: str

    @property
    def space(self) -> Space: ...

    @property
    def layout(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def counts(self) -> tuple[int, int]: ...

    def batch(self, size: int, *keys: int, turn: int, device: torch.device) -> Batch: ...

    def batch_of(self, rows: Sequence[int], device: torch.device, *, held_out: bool = False) -> Batch: ...

    def labels_of(self, rows: Sequence[int]) -> NDArray[np.int64]: ...


def rows_of(turn: int, size: int, count: int, keys: tuple[int, ...]) -> list[int]:
    """The rows of a batch, of `count` in an order that is another one in each epoch."""
    return [row_at(place, count, keys) for place in range(turn * size, (turn + 1) * size)]


def row_at(place: int, count: int, keys: tuple[int, ...]) -> int:
    """Which of `count` rows is read at this place (from 0) of an order that is another one in each epoch."""
    epoch, at = divmod(place, count)
    return int(_order(count, *keys, epoch)[at])


@lru_cache(maxsize=4)
def _order(count: int, *keys: int) -> np.ndarray:
    return generator(*keys).permutation(count)
