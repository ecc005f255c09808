"""The feed-forward part of a layer: one SwiGLU network, or many of which each token uses a few.

Sources: Shazeer (2020), GLU variants improve transformer; Jiang et al. (2024), Mixtral of experts.

    one       y = W_down ( silu(W_gate x) * W_up x )
    experts   p = softmax(R x),   y = sum over the k largest p_e of p_e (/ their sum) expert_e(x)

R is the router, (n_experts, d_model).

Chosen:   the products of one expert run once for all of its tokens; the router's softmax is in float32.
Left out: capacity limits (no token is ever dropped), the load-balancing loss, shared experts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.models.linear import Linear

__all__ = ["MLP", "Experts"]


class MLP(nn.Module):
    """SwiGLU: (..., d_model) -> (..., d_model)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate_up = Linear(d_model, {"gate_proj": d_ff, "up_proj": d_ff})
        self.down = Linear(d_ff, {"down_proj": d_model})

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)  # type: ignore[no-any-return]


class Experts(nn.Module):
    """`n_experts` SwiGLU networks of width d_ff, of which each token uses `n_chosen`; `normalise` makes their weights
    sum to 1."""

    def __init__(self, d_model: int, d_ff: int, n_experts: int, n_chosen: int, *, normalise: bool) -> None:
        super().__init__()
        self.router = Linear(d_model, {"gate": n_experts})
        self.experts = nn.ModuleList(MLP(d_model, d_ff) for _ in range(n_experts))
        self.n_chosen, self.normalise = n_chosen, normalise

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model)."""
        flat = x.reshape(-1, x.shape[-1])  # (N, d_model)
        weights, chosen = self.router(flat).softmax(-1, dtype=torch.float32).topk(self.n_chosen, -1)  # (N, k)
        if self.normalise:
            weights = weights / weights.sum(-1, keepdim=True)
        weights = weights.to(x.dtype)
        mixed = torch.zeros_like(flat)
        for number in chosen.unique().tolist():
            rows, places = torch.where(chosen == number)
            answer = self.experts[number](flat[rows]) * weights[rows, places, None]
            mixed = mixed.index_add(0, rows, answer)
        return mixed.view_as(x)
