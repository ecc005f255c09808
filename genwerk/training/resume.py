"""The state of a run between two steps: weights, optimisers and the rows of its curve; saved and found again.

Random numbers and the order of the data need no saving: both are pure functions of (seed, step), see seeding.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Parameter

from genwerk.core.checkpoint import load_latest, save_checkpoint
from genwerk.training.curve import LossCurve

__all__ = ["Parameters", "RunState", "Stateful"]


class Stateful(Protocol):
    """A module, an optimiser, or anything else that can be taken down and set up again."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


class Parameters:
    """Those parameters of a module that a run changes, in their order."""

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self._parameters = list(parameters)

    def state_dict(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self._parameters]

    @torch.no_grad()
    def load_state_dict(self, state_dict: list[Tensor]) -> None:
        for parameter, saved in zip(self._parameters, state_dict, strict=True):
            parameter.copy_(saved)


class RunState:
    """What must survive a kill. Opening it goes on from the last checkpoint in `scratch`, or starts anew.

    step    finished steps
    tokens  tokens read in them
    parts   what the run changes, by name
    """

    def __init__(self, scratch: Path, **parts: Stateful) -> None:
        self._directory, self._parts = scratch / "checkpoints", parts
        found = load_latest(self._directory)
        self.step, self.tokens = 0, 0
        if found is not None:
            saved: Mapping[str, Any] = found.state["parts"]
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            self.step, self.tokens = found.step, int(found.state["tokens"])
        self.curve = LossCurve(scratch / "loss.jsonl", after=None if found is None else found.step)

    def save(self) -> None:
        """Write a checkpoint of this moment; the curve is made durable first, because resuming counts on it."""
        self.curve.sync()
        parts = {name: part.state_dict() for name, part in self._parts.items()}
        save_checkpoint(self._directory, self.step, {"parts": parts, "tokens": self.tokens})
