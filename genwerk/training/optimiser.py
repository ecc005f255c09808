"""AdamW: Adam with the weight decay taken out of the gradient.

Source: Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization, algorithm 2.

    m = b1 m + (1 - b1) g          v = b2 v + (1 - b2) g^2
    p = p - lr ( m / (1 - b1^t) / ( sqrt(v / (1 - b2^t)) + eps ) + decay p )

p, g      parameter and its gradient, same shape
m, v      running means of gradient and squared gradient
t         step from 1

Chosen:   torch's fused implementation; matrices and embeddings decay, vectors (norm gains, biases) do not.
Left out: per-layer learning rates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

__all__ = ["make_adamw", "set_lr"]


def make_adamw(
    params: Iterable[Parameter],
    lr: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
) -> AdamW:
    """An AdamW over the parameters that require a gradient: matrices decay, vectors do not."""
    trained = [parameter for parameter in params if parameter.requires_grad]
    if not trained:
        raise ValueError("no parameter requires a gradient, so there is nothing to optimise")
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=lr, betas=betas, eps=eps, fused=True)


class Grouped(Protocol):
    """An optimiser, as far as a learning rate goes."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...


def set_lr(optimiser: Optimizer | Grouped, lr: float) -> None:
    """Give every group this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = lr
