"""Diffusion: a network learns to see the data behind noise of any strength.

Source: Ho et al. (2020), DDPM, eq. 14; Salimans and Ho (2022), Progressive distillation, section 4, for v; Hang et al.
(2023), Efficient diffusion training via min-SNR weighting, section 3.4; Karras et al. (2022), Elucidating the design
space (EDM), table 1 and eqs. 7 and 8.

    VP    x_t = a x_0 + s eps        the network F is given x_t and t / T
          F estimates  eps,  x_0  or  v = a eps - s x_0
          loss = mean w |F - target|²,    w = min(snr, g) / (snr, 1, snr + 1),    snr = a² / s²
    EDM   x_t = x_0 + sigma eps,     ln sigma ~ N(m, s²)
          x_0 = skip x_t + out F(in x_t, c),    d the deviation of the data
          skip = d² / (sigma² + d²),  out = sigma d / sqrt(sigma² + d²),  in = 1 / sqrt(sigma² + d²)
          loss = mean |F - (x_0 - skip x_t) / out|²,   which is EDM's weight of the error of x_0

Chosen:   conditions are hidden now and then, so that guidance is possible; F is told c as a number between 0 and 1.
Left out: learned variances, a bound on the likelihood.
Try it:   genwerk run recipes/digits-diffusion.yaml
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from genwerk.core.config import Config, Field
from genwerk.generators.denoising import DENOISING, denoise_frames
from genwerk.generators.family import Ask, Batch, Loss, Player, Preview, Space
from genwerk.generators.networks import NetworkConfig, make_denoiser
from genwerk.generators.path import EDM, VP, mix
from genwerk.models.condition import drop

__all__ = ["Diffusion", "DiffusionConfig", "snr_weight"]

Prediction = Literal["noise", "data", "velocity"]


class DiffusionConfig(Config):
    """A conditional diffusion; the defaults are DDPM's path with velocity, on two cores."""

    network: NetworkConfig = Field(NetworkConfig(), description="what sees a noisy picture")
    path: Literal["linear", "cosine", "edm"] = Field("cosine", description="DDPM's betas, improved DDPM's, or EDM")
    predicts: Prediction = Field("velocity", description="what the network estimates on a path of betas")
    snr_limit: float = Field(5.0, ge=0, description="g: strong signals weigh no more; 0 gives every time weight 1")
    deviation: float = Field(0.5, gt=0, description="EDM: d, of the data")
    noise_mean: float = Field(-1.2, description="EDM: m of ln sigma in training")
    noise_spread: float = Field(1.2, gt=0, description="EDM: s of ln sigma in training")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    betas: tuple[float, float] = Field((0.9, 0.99), description="memory of AdamW's two running means")
    weight_decay: float = Field(0.0, ge=0, description="pull of the matrices towards zero")
    drop: float = Field(0.1, ge=0, lt=1, description="share of conditions that are hidden, for guidance")
    steps: int = Field(25, ge=1, description="of the solver, where an ask names none")
    solver: Literal["euler", "heun", "dpm_solver", "ancestral"] = Field("dpm_solver", description="the same")


class Diffusion:
    """A family, see family.py."""

    uses = DENOISING

    def __init__(self, config: DiffusionConfig, space: Space) -> None:
        self.config, self.space, self.noise_shape = config, space, space.shape
        self.path: EDM | VP = EDM() if config.path == "edm" else VP(config.path)
        self.network = make_denoiser(config.network, space)

    def players(self) -> Sequence[Player]:
        own = self.config
        return [Player("diffusion", self.network, self.loss, own.lr, own.betas, own.weight_decay)]

    def loss(self, batch: Batch) -> Loss:
        given = None if batch.given is None else drop(batch.given, self.config.drop)
        noise = torch.randn_like(batch.x)
        if isinstance(self.path, VP):
            return self._vp_loss(self.path, batch.x, noise, given)
        sigma = torch.exp(
            self.config.noise_mean + self.config.noise_spread * torch.randn(len(noise), device=noise.device)
        )
        x = mix(self.path, batch.x, noise, sigma)
        skip, out, _ = self._scales(_wide(sigma))
        return Loss((self._seen(x, sigma, given) - (batch.x - skip * x) / out).square().mean())

    def _vp_loss(self, path: VP, x0: Tensor, noise: Tensor, given: Tensor | None) -> Loss:
        t = torch.randint(1, path.length + 1, (len(x0),), device=x0.device)
        alpha, sigma = (_wide(level.to(x0.dtype)) for level in path.levels(t))
        found = self.network(alpha * x0 + sigma * noise, t / path.length, given)
        target = {"noise": noise, "data": x0, "velocity": alpha * noise - sigma * x0}[self.config.predicts]
        weight = snr_weight((alpha / sigma).square(), self.config.predicts, self.config.snr_limit)
        return Loss((weight * (found - target).square()).mean())

    def estimate(self, x: Tensor, t: float, given: Tensor | None) -> Tensor:
        """x_0 of x_t (B, C, H, W)."""
        here = self.path.at(t)
        if isinstance(self.path, EDM):
            sigma = x.new_full((len(x),), t)
            skip, out, _ = self._scales(_wide(sigma))
            return skip * x + out * self._seen(x, sigma, given)
        found: Tensor = self.network(x, x.new_full((len(x),), t / self.path.length), given)
        if self.config.predicts == "data":
            return found
        if self.config.predicts == "velocity":
            return here.alpha * x - here.sigma * found
        return (x - here.sigma * found) / here.alpha

    def frames(self, ask: Ask) -> Iterator[Preview]:
        device = next(self.network.parameters()).device
        return denoise_frames(
            self.estimate, self.path, self.space, ask, steps=self.config.steps, solver=self.config.solver, device=device
        )

    def _seen(self, x: Tensor, sigma: Tensor, given: Tensor | None) -> Tensor:
        """F(in x, c) of EDM."""
        assert isinstance(self.path, EDM)
        low, high = math.log(self.path.sigma_min), math.log(self.path.sigma_max)
        _, _, inner = self._scales(_wide(sigma))
        found: Tensor = self.network(inner * x, (sigma.log() - low) / (high - low), given)
        return found

    def _scales(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """skip, out and in, see above."""
        d = self.config.deviation
        whole = sigma.square() + d * d
        return d * d / whole, sigma * d / whole.sqrt(), whole.rsqrt()


def snr_weight(snr: Tensor, predicts: Prediction, limit: float) -> Tensor:
    """w, see above; 1 for a limit of 0."""
    if limit == 0.0:
        return torch.ones_like(snr)
    per = {"noise": snr, "data": torch.ones_like(snr), "velocity": snr + 1}[predicts]
    return snr.clamp(max=limit) / per


def _wide(level: Tensor) -> Tensor:
    return level[:, None, None, None]
