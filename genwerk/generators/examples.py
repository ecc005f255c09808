"""What a family learns from: pictures in an order that follows from (seed, turn), with what they can be asked by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genwerk.core.errors import DataError
from genwerk.data.pictures import PictureSet, load_pictures
from genwerk.generators.family import Batch, Space
from genwerk.training.seeding import generator

__all__ = ["Examples", "to_numbers", "to_pixels"]


@dataclass(frozen=True)
class Examples:
    """Pictures to learn from and others to measure on; vectors: of their texts, (N, D) each, where asked by text."""

    train: PictureSet
    held_out: PictureSet
    by: str = "nothing"
    vectors: tuple[Tensor, Tensor] | None = None

    @classmethod
    def open(cls, path: Path, by: str = "class", vectors: tuple[Tensor, Tensor] | None = None) -> Examples:
        """Of a pictures artifact; by: class, text or nothing; vectors: of its texts. Raises DataError: no classes."""
        train, held_out = load_pictures(path, "train"), load_pictures(path, "heldout")
        if by == "class" and len(train.classes) < 2:
            what = f"the pictures have {len(train.classes)} classes, so none can be asked for"
            raise DataError(
                what, where=str(path), remedy="Put them into a folder for each class, or set `ask: nothing`."
            )
        return cls(train, held_out, by, vectors)

    @cached_property
    def space(self) -> Space:
        channels, height, width = self.train.pixels.shape[1:]
        classes = len(self.train.classes) if self.by == "class" else 0
        vector = self.vectors[0].shape[1] if self.by == "text" and self.vectors is not None else 0
        return Space((channels, height, width), classes=classes, vector=vector)

    def batch(self, size: int, *keys: int, turn: int, device: torch.device) -> Batch:
        """The batch of this turn (from 0); every epoch reads each picture once. keys: of the random order."""
        rows = [self._row(place, keys) for place in range(turn * size, (turn + 1) * size)]
        return self.of(self.train, rows, device)

    def of(self, pictures: PictureSet, rows: Sequence[int], device: torch.device) -> Batch:
        """These pictures, with what they can be asked by."""
        x = to_numbers(pictures.pixels[list(rows)]).to(device)
        if self.by == "class":
            return Batch(x, torch.from_numpy(pictures.labels[list(rows)]).to(device))
        if self.by == "text" and self.vectors is not None:
            return Batch(x, self.vectors[0 if pictures is self.train else 1][list(rows)].to(device))
        return Batch(x)

    def _row(self, place: int, keys: tuple[int, ...]) -> int:
        epoch, at = divmod(place, len(self.train))
        return int(_order(len(self.train), *keys, epoch)[at])


@lru_cache(maxsize=4)
def _order(count: int, *keys: int) -> np.ndarray:
    return generator(*keys).permutation(count)


def to_numbers(pixels: np.ndarray) -> Tensor:
    """(…) uint8 to float32 from -1 to 1."""
    return torch.from_numpy(np.asarray(pixels, np.float32)).div_(127.5).sub_(1.0)


def to_pixels(x: Tensor) -> np.ndarray:
    """(…) from -1 to 1 to uint8, rounded."""
    return x.detach().cpu().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8).numpy()
