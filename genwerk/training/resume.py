"""The state of a run between two steps: parameters, optimiser and the rows of its curve; saved and found again.

Random numbers and the order of the data need no saving: both are pure functions of (seed, step), see seeding.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from genwerk.core.checkpoint import load_latest, save_checkpoint
from genwerk.training.curve import LossCurve

__all__ = ["RunState"]


class RunState:
    """What must survive a kill. Opening it goes on from the last checkpoint in `scratch`, or starts anew.

    step    finished steps
    tokens  tokens read in them
    """

    def __init__(self, scratch: Path, parameters: Iterable[Parameter], optimiser: Optimizer) -> None:
        self._directory = scratch / "checkpoints"
        self._parameters, self._optimiser = list(parameters), optimiser
        found = load_latest(self._directory)
        self.step, self.tokens = 0, 0
        if found is not None:
            with torch.no_grad():
                for parameter, saved in zip(self._parameters, found.state["parameters"], strict=True):
                    parameter.copy_(saved)
            optimiser.load_state_dict(found.state["optimiser"])
            self.step, self.tokens = found.step, int(found.state["tokens"])
        self.curve = LossCurve(scratch / "loss.jsonl", after=None if found is None else found.step)

    def save(self) -> None:
        """Write a checkpoint of this moment; the curve is made durable first, because resuming counts on it."""
        self.curve.sync()
        state = {
            "parameters": [parameter.detach() for parameter in self._parameters],
            "optimiser": self._optimiser.state_dict(),
            "tokens": self.tokens,
        }
        save_checkpoint(self._directory, self.step, state)
