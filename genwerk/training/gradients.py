"""Gradients of one step: accumulated over micro-batches, then clipped by their global norm.

Source: Pascanu et al. (2013), On the difficulty of training recurrent neural networks, algorithm 1 (clipping).

    g = sum_i grad( S_i ) / n            g <- g * min(1, c / |g|)

S_i       summed (not averaged) loss of micro-batch i, in nats
n         number of predicted tokens in the whole step
c         largest norm let through

Chosen:   sums divided by the count of the whole step, so that any split into micro-batches gives the gradient of the
          one large batch, also when micro-batches hold different numbers of tokens.
Left out: clipping by value or per layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_

from genwerk.core.errors import TrainingError

__all__ = ["Clipped", "accumulate", "check_finite", "clip_gradients"]

Batch = TypeVar("Batch")


@dataclass(frozen=True, slots=True)
class Clipped:
    """The global gradient norm before clipping, and whether it was above the limit."""

    norm: float
    clipped: bool


def accumulate(micro_batches: Sequence[Batch], summed_loss: Callable[[Batch], Tensor], count: int) -> float:
    """Add the gradient of sum(summed_loss(b)) / count to the parameters; returns that loss (nats per token).

    `summed_loss` gives a scalar: the loss summed over the tokens of one micro-batch. `count` is the number of
    predicted tokens in all micro-batches together.
    """
    total = 0.0
    for batch in micro_batches:
        loss = summed_loss(batch) / count
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def clip_gradients(parameters: Iterable[Parameter], limit: float) -> Clipped:
    """Scale all gradients so that their global norm is at most `limit`; 0 measures without clipping."""
    norm = float(clip_grad_norm_(parameters, limit if limit > 0 else math.inf, foreach=True))
    return Clipped(norm, 0 < limit < norm)


def check_finite(step: int, loss: float, norm: float, lr: float, *, lr_key: str = "lr") -> None:
    """Stop a run whose loss or gradient is no longer a number. Raises TrainingError that names the step."""
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradient norm became {norm}"
    raise TrainingError(
        f"{what} at step {step}, with learning rate {lr:.2e}",
        where=f"step {step}",
        remedy=f"Lower `{lr_key}` to a third of it, raise `warmup`, or lower `clip`; "
        "the last checkpoint is from before this step.",
    )
