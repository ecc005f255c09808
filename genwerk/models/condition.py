"""What a sample is asked to be, as a vector: a class, a text in vectors, or nothing.

    given   (B,) int64 classes, -1 for none            or  (B, D) float32 vectors of length 1, all zero for none
    e       row `given` of a table                     or  W given,     and a vector of its own for none

Chosen:   none is learned, so that one network makes samples with and without a condition (guidance.py needs both).
Left out: a sequence of words to attend to: one vector a text says what an emoji shows, at no cost.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genwerk.core.errors import ModelError

__all__ = ["Condition", "drop", "none_like"]


class Condition(nn.Module):
    """(B,) or (B, vector) to (B, width); zero where there is nothing to be asked for.

    classes, vector   how many classes there are, or how long a text's vector is; both 0: no condition
    """

    def __init__(self, width: int, *, classes: int = 0, vector: int = 0) -> None:
        super().__init__()
        if classes and vector:
            raise ModelError("a network is asked by class or by vector, not both", remedy="Leave one of them out.")
        self.width, self.classes, self.vector = width, classes, vector
        self.table = nn.Embedding(classes, width) if classes else None
        self.project = nn.Linear(vector, width, bias=False) if vector else None
        self.none = nn.Parameter(torch.zeros(width)) if classes or vector else None

    def forward(self, given: Tensor | None, count: int) -> Tensor:
        if self.none is None:
            return torch.zeros(count, self.width, device=given.device if given is not None else None)
        if given is None:
            return self.none.expand(count, -1)
        if self.table is not None:
            asked, found = given >= 0, self.table(given.clamp(min=0))
        else:
            assert self.project is not None
            asked, found = given.any(1), self.project(given)
        return torch.where(asked[:, None], found, self.none)


def none_like(given: Tensor) -> Tensor:
    """No condition, for as many."""
    return torch.full_like(given, -1) if given.ndim == 1 else torch.zeros_like(given)


def drop(given: Tensor, share: float) -> Tensor:
    """`given` with about this share of it replaced by none, by torch's global generator."""
    kept = torch.rand(len(given), device=given.device) >= share
    return torch.where(kept if given.ndim == 1 else kept[:, None], given, none_like(given))
