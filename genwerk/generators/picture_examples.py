"""Pictures as examples, with what they can be asked by: a class, a text in vectors, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genwerk.core.errors import DataError
from genwerk.data.pictures import PictureSet, load_pictures
from genwerk.generators.examples import rows_of
from genwerk.generators.family import Batch, Space

__all__ = ["PictureExamples", "to_numbers", "to_pixels"]


@dataclass(frozen=True)
class PictureExamples:
    """Pictures to learn from and others to measure on.

    vectors  of their texts, (N, D) each, where asked by text;   codes: of the pictures, where a codec made them before
    """

    train: PictureSet
    held_out: PictureSet
    by: str = "nothing"
    vectors: tuple[Tensor, Tensor] | None = None
    codes: tuple[Tensor, Tensor] | None = None
    unit = "pictures"

    @classmethod
    def open(cls, path: Path, by: str = "class", vectors: tuple[Tensor, Tensor] | None = None) -> PictureExamples:
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
        return self.batch_of(rows_of(turn, size, len(self.train), keys), device)

    def batch_of(self, rows: Sequence[int], device: torch.device, *, held_out: bool = False) -> Batch:
        pictures, some, part = self.held_out if held_out else self.train, list(rows), 1 if held_out else 0
        x = to_numbers(pictures.pixels[some]).to(device)
        codes = None if self.codes is None else self.codes[part][some].to(device)
        given = None
        if self.by == "class":
            given = torch.from_numpy(pictures.labels[some]).to(device)
        elif self.by == "text" and self.vectors is not None:
            given = self.vectors[part][some].to(device)
        return Batch(x, given, codes=codes)

    def labels_of(self, rows: Sequence[int]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self.train.labels[list(rows)]
        return found


def to_numbers(pixels: np.ndarray) -> Tensor:
    """(…) uint8 to float32 from -1 to 1."""
    return torch.from_numpy(np.asarray(pixels, np.float32)).div_(127.5).sub_(1.0)


def to_pixels(x: Tensor) -> np.ndarray:
    """(…) from -1 to 1 to uint8, rounded."""
    return x.detach().cpu().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8).numpy()
