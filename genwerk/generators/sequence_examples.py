"""Sequences as examples. Batches are of like lengths, so that little of them is padding.

the rows of 32 batches, in the order of the epoch -> sorted by length -> cut into batches -> in an order by chance
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from genwerk.core.errors import DataError
from genwerk.data.sequences import PAD, SequenceSet, load_sequences
from genwerk.generators.examples import rows_of
from genwerk.generators.family import Batch, Space
from genwerk.training.seeding import generator

__all__ = ["SequenceExamples"]

_SORTED = 32


@dataclass(frozen=True)
class SequenceExamples:
    """Sequences to learn from and others to measure on; by: class or nothing."""

    train: SequenceSet
    held_out: SequenceSet
    by: str = "nothing"
    unit = "sequences"

    @classmethod
    def open(cls, path: Path, by: str = "nothing") -> SequenceExamples:
        """Of a sequences artifact. Raises DataError where there are no classes to be asked for."""
        train, held_out = load_sequences(path, "train"), load_sequences(path, "heldout")
        if by != "nothing" and (by != "class" or len(train.classes) < 2):
            what = f"the sequences have {len(train.classes)} classes and no texts"
            raise DataError(what, where=str(path), remedy="Set `ask: nothing`, or give a file for each class.")
        return cls(train, held_out, by)

    @cached_property
    def space(self) -> Space:
        classes = len(self.train.classes) if self.by == "class" else 0
        return Space((self.train.tokens.shape[1],), len(self.train.vocabulary), classes)

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        tokens = self.train.tokens
        parts = (np.asarray(tokens[start : start + 65_536]) for start in range(0, len(tokens), 65_536))
        return np.concatenate([(part != PAD).sum(1) for part in parts])

    @cached_property
    def _groups(self) -> dict[tuple[int, tuple[int, ...], int], NDArray[np.int64]]:
        """The batches that are read at present."""
        return {}

    @property
    def layout(self) -> str:
        return self.train.layout

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.train), len(self.held_out)

    def batch(self, size: int, *keys: int, turn: int, device: torch.device) -> Batch:
        group, place = divmod(turn, _SORTED)
        if (size, keys, group) not in self._groups:
            self._groups.clear()
            self._groups[size, keys, group] = self._group(size, keys, group)
        return self.batch_of(self._groups[size, keys, group][place].tolist(), device)

    def _group(self, size: int, keys: tuple[int, ...], group: int) -> NDArray[np.int64]:
        """(_SORTED, size): the rows of so many batches."""
        rows = np.array(rows_of(group, _SORTED * size, len(self.train), keys))
        rows = rows[np.argsort(self._lengths[rows], kind="stable")].reshape(_SORTED, size)
        found: NDArray[np.int64] = rows[generator(*keys, group, 1).permutation(_SORTED)]
        return found

    def batch_of(self, rows: Sequence[int], device: torch.device, *, held_out: bool = False) -> Batch:
        some = self.held_out if held_out else self.train
        tokens = np.asarray(some.tokens[list(rows)])
        longest = int((tokens != PAD).sum(1).max())
        x = torch.from_numpy(tokens[:, :longest].astype(np.int64)).to(device)
        if self.by == "class":
            return Batch(x, torch.from_numpy(some.labels[list(rows)]).to(device))
        return Batch(x)

    def labels_of(self, rows: Sequence[int]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self.train.labels[list(rows)]
        return found
