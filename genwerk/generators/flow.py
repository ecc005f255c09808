"""Flow matching: a network learns in which direction noise becomes data along straight lines.

Source: Lipman et al. (2022), Flow matching for generative modeling, eq. 23; Liu et al. (2022), Flow straight and fast
(rectified flow), eq. 1, and reflow.py; Esser et al. (2024), Scaling rectified flow transformers, section 3.1,
for the times; Tong et al. (2023), minibatch optimal transport, algorithm 3.

    x_t = (1 - t) x_0 + t eps          v = eps - x_0
    loss = mean | v(x_t, t, c) - v |²          t = sigmoid(n), n ~ N(m, s²)
    x_0  = x_t - t v(x_t, t, c)                what a solver is given

Chosen:   times near the middle more often, where the direction is hardest to tell; a tenth of the conditions is hidden,
          so that guidance is possible; noise may be paired with data so that lines cross less (transport).
Left out: other paths between noise and data, distillation to one step.
Try it:   genwerk run recipes/digits-flow.yaml
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from genwerk.core.config import Config, Field
from genwerk.generators.denoising import DENOISING, denoise_frames
from genwerk.generators.family import Ask, Batch, Loss, Player, Preview, Space
from genwerk.generators.networks import NetworkConfig, make_denoiser
from genwerk.generators.path import Linear, mix
from genwerk.models.condition import drop

__all__ = ["Flow", "FlowConfig", "pair_by_transport", "velocity_loss"]


class FlowConfig(Config):
    """A conditional flow; the defaults suit small pictures on two cores."""

    network: NetworkConfig = Field(NetworkConfig(), description="what sees a noisy picture and says the direction")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    betas: tuple[float, float] = Field((0.9, 0.99), description="memory of AdamW's two running means")
    weight_decay: float = Field(0.0, ge=0, description="pull of the matrices towards zero")
    time_mean: float = Field(0.0, description="m: above 0 more noise is seen in training")
    time_spread: float = Field(1.0, gt=0, description="s: how far from the middle times are drawn")
    drop: float = Field(0.1, ge=0, lt=1, description="share of conditions that are hidden, for guidance")
    transport: bool = Field(False, description="pair noise with data by optimal transport within a batch")
    steps: int = Field(16, ge=1, description="of the solver, where an ask names none")
    solver: Literal["euler", "heun", "dpm_solver", "ancestral"] = Field("heun", description="the same")
    shift: float = Field(1.0, gt=0, description="above 1 the solver spends more of its steps near noise")


class Flow:
    """A family, see family.py."""

    uses = DENOISING

    def __init__(self, config: FlowConfig, space: Space) -> None:
        self.config, self.space, self.noise_shape = config, space, space.shape
        self.path = Linear(config.shift)
        self.network = make_denoiser(config.network, space)

    def players(self) -> Sequence[Player]:
        own = self.config
        return [Player("flow", self.network, self.loss, own.lr, own.betas, own.weight_decay)]

    def loss(self, batch: Batch) -> Loss:
        noise = torch.randn_like(batch.x) if batch.noise is None else batch.noise
        if self.config.transport and batch.noise is None:
            noise = pair_by_transport(batch.x, noise)
        t = torch.sigmoid(self.config.time_mean + self.config.time_spread * torch.randn_like(batch.x[:, 0, 0, 0]))
        given = None if batch.given is None else drop(batch.given, self.config.drop)
        found = self.network(mix(self.path, batch.x, noise, t), t, given)
        return Loss(velocity_loss(found, batch.x, noise))

    def estimate(self, x: Tensor, t: float, given: Tensor | None) -> Tensor:
        """x_0 of x_t (B, C, H, W)."""
        velocity: Tensor = self.network(x, x.new_full((len(x),), t), given)
        return x - t * velocity

    def frames(self, ask: Ask) -> Iterator[Preview]:
        return self._frames(ask, bound=1.0)

    def unbounded_frames(self, ask: Ask) -> Iterator[Preview]:
        """The same where samples are codes, which have no bounds."""
        return self._frames(ask, bound=None)

    def _frames(self, ask: Ask, bound: float | None) -> Iterator[Preview]:
        own, device = self.config, next(self.network.parameters()).device
        return denoise_frames(
            self.estimate, self.path, self.space, ask, steps=own.steps, solver=own.solver, device=device, bound=bound
        )


def velocity_loss(velocity: Tensor, x0: Tensor, noise: Tensor) -> Tensor:
    """Mean of |v - (noise - x0)|² over all places of (B, …)."""
    return (velocity - (noise - x0)).square().mean()


def pair_by_transport(x0: Tensor, noise: Tensor) -> Tensor:
    """`noise` (B, …) in the order that makes the sum of squared distances to `x0` least."""
    apart = torch.cdist(x0.flatten(1).double(), noise.flatten(1).double()).square()
    _, order = linear_sum_assignment(apart.cpu().numpy())
    return noise[torch.from_numpy(order).to(noise.device)]
