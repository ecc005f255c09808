"""Muon: the momentum of a matrix is made orthogonal before it becomes a step; all else is moved by AdamW.

Source: Jordan et al. (2024), Muon, an optimizer for hidden layers; Liu et al. (2025), Muon is scalable for LLM
training, section 2.2, for steps of AdamW's size, so that one learning rate serves both.

    m = b m + (1 - b) g        o = U V^T of b m + (1 - b) g = U S V^T, by five steps of Newton and Schulz
    p = (1 - lr decay) p - 0.2 lr sqrt(max(rows, columns)) o

b   momentum; the gradient g counts once more beside its mean m, as Nesterov's does

Chosen:   torch's implementation; embeddings, vectors and the head of a vocabulary stay with AdamW, as the sources say.
Left out: kernels of convolutions as matrices.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Muon

from genwerk.training.optimiser import make_adamw

__all__ = ["MuonWithAdamW"]


class MuonWithAdamW:
    """Both as one optimiser over the matrices in the middle of `module`, and over all else of it.

    Raises ValueError where there is no matrix in the middle, or nothing else.
    """

    def __init__(
        self, module: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float], momentum: float = 0.95
    ) -> None:
        tables = {id(one.weight) for one in module.modules() if isinstance(one, nn.Embedding)}
        own = {name: one for name, one in module.named_parameters() if one.requires_grad}
        matrices = {name for name, one in own.items() if one.ndim == 2 and id(one) not in tables
                    and not name.endswith(("embed_tokens", "lm_head"))}  # fmt: skip
        if not matrices:
            raise ValueError("there is no matrix whose step could be made orthogonal")
        self._muon = Muon([own[name] for name in own if name in matrices], lr=lr, weight_decay=weight_decay,
                          momentum=momentum, adjust_lr_fn="match_rms_adamw")  # fmt: skip
        self._adamw = make_adamw([own[name] for name in own if name not in matrices], lr, weight_decay, betas)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [*self._muon.param_groups, *self._adamw.param_groups]

    def step(self) -> None:
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adamw.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._muon.zero_grad(set_to_none)
        self._adamw.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
