"""How far one distribution of the next token is from another.

KL = sum_v p(v) [log p(v) - log q(v)]        in nats; 0 where p and q are the same
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["kl_divergence"]


def kl_divergence(exact: Tensor, served: Tensor) -> Tensor:
    """Logits (T, V) of p and of q, to nats (T,)."""
    p, q = exact.log_softmax(-1), served.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
