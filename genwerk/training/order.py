"""The order in which examples are read: batches of like length, so that little is padded; a function of (seed, step).

In each epoch the examples are sorted by length (blurred at random by a twentieth up or down, so that neighbours
change), cut into batches, and the batches are shuffled. Every example is read once per epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from genwerk.training.seeding import generator

__all__ = ["LengthSortedOrder"]

_BLUR = 0.1


class LengthSortedOrder:
    """Batches of `batch` examples (the last of an epoch may be smaller). `lengths` are those of the examples."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        if not lengths:
            raise ValueError("there are no examples to order")
        self._lengths, self._batch, self._seed = np.asarray(lengths, np.float64), batch, seed
        self.batches_per_epoch = -(-len(lengths) // batch)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def at(self, step: int) -> list[int]:
        """Indices of the examples of `step` (from 0), the longest first."""
        epoch, place = divmod(step, self.batches_per_epoch)
        return self._epoch(epoch)[place]

    def _make_epoch(self, epoch: int) -> list[list[int]]:
        draw = generator(self._seed, epoch)
        blurred = self._lengths * (1 + _BLUR * (draw.random(len(self._lengths)) - 0.5))
        ranked = np.argsort(-blurred, kind="stable")
        batches = [ranked[at : at + self._batch] for at in range(0, len(ranked), self._batch)]
        return [
            sorted((int(i) for i in batches[place]), key=lambda i: (-self._lengths[i], i))
            for place in draw.permutation(len(batches))
        ]
