"""Random numbers of draws: each draw has its own, so it is the same alone or among many, and on every device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genwerk.training.seeding import generator

__all__ = ["Noise"]


class Noise:
    """Standard normal numbers for `count` draws of a seed, from draw `first` on."""

    def __init__(self, seed: int, count: int, *, first: int = 0) -> None:
        self._generators = [generator(seed, index) for index in range(first, first + count)]

    def draw(self, shape: Sequence[int]) -> Tensor:
        """(B, *shape) float32, new ones with every call."""
        return torch.from_numpy(np.stack([one.standard_normal(shape, np.float32) for one in self._generators]))
