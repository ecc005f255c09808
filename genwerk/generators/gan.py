"""Generative adversarial networks: one network makes pictures, another tells them from real ones, and both learn.

Source: Goodfellow et al. (2014); Radford et al. (2015), DCGAN; Gulrajani et al. (2017), WGAN-GP, eq. 3; Huang et al.
(2024), The GAN is dead; long live the GAN! (R3GAN), eqs. 2 to 4, after Jolicoeur-Martineau (2019) and Mescheder et al.
(2018); Miyato et al. (2018), spectral norm; Zhao et al. (2020), differentiable augmentation; Heusel et al. (2017), two
learning rates.

    D the critic's score, x real, y = G(z, c) made, s = softplus
                    critic                                               generator
    nonsaturating   s(-D(x)) + s(D(y))                                   s(-D(y))
    wgan            D(y) - D(x) + g ( |grad D(u)| - 1 )²                 -D(y)
    relativistic    s(D(y) - D(x)) + g/2 ( |grad D(x)|² + |grad D(y)|² )   s(D(x) - D(y))

u   a point between x and y;  g: `penalty`

Chosen:   a critic knows the class or text by projection; real and made are seen through the same augmentation, if any;
          samples are drawn by an average of the generator (ema.py); loop.py goes back where it collapses (tripwire.py).
Left out: style layers, progressive growing, adaptive augmentation.
Try it:   genwerk run recipes/digits-gan.yaml
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genwerk.core.config import Config, Field
from genwerk.generators.augment import augment
from genwerk.generators.family import Ask, Batch, Loss, Player, Preview, Space
from genwerk.generators.noise import Noise
from genwerk.models.convnet import Critic, PictureDecoder

__all__ = ["GAN", "GANConfig", "gradient_norm_squared"]

Kind = Literal["nonsaturating", "wgan", "relativistic"]


class GANConfig(Config):
    """A conditional GAN; the defaults are R3GAN's loss on a small network."""

    loss: Kind = Field("relativistic", description="relativistic with R1 and R2, WGAN-GP, or DCGAN's")
    penalty: float = Field(1.0, ge=0, description="g, of the critic's gradients; WGAN-GP wants 10")
    codes: int = Field(64, ge=1, description="numbers of noise a picture is made of")
    width: int = Field(32, ge=1, description="channels at half the size, doubled with every halving")
    critic_every: int = Field(
        1, ge=1, description="steps of the critic for one of the generator; WGAN-GP wants 3 or more"
    )
    generator_lr: float = Field(6e-4, gt=0, description="highest learning rate of the generator")
    critic_lr: float = Field(1.2e-3, gt=0, description="highest learning rate of the critic")
    betas: tuple[float, float] = Field((0.0, 0.99), description="memory of Adam's two running means")
    smooth: float = Field(0.0, ge=0, lt=0.5, description="nonsaturating: labels are so far from 0 and 1")
    spectral: bool = Field(False, description="spectral norm in the critic")
    statistics: bool = Field(False, description="the critic sees how much a batch differs")
    augment: tuple[Literal["shift", "cutout", "colour", "flip"], ...] = Field((), description="of what the critic sees")


class Networks(nn.Module):
    """Generator and critic; samples need the first only."""

    def __init__(self, config: GANConfig, space: Space) -> None:
        super().__init__()
        told = {"classes": space.classes, "vector": space.vector}
        self.generator = PictureDecoder(config.codes, space.picture, width=config.width, **told)
        self.critic = Critic(
            space.picture, width=config.width, spectral=config.spectral, statistics=config.statistics, **told
        )


class GAN:
    """A family, see family.py."""

    uses = frozenset({"given", "noise", "temperature"})

    def __init__(self, config: GANConfig, space: Space) -> None:
        self.config, self.space, self.noise_shape = config, space, (config.codes,)
        self.network = Networks(config, space)

    def players(self) -> Sequence[Player]:
        own = self.config
        return [
            Player("critic", self.network.critic, self.critic_loss, own.critic_lr, own.betas, every=own.critic_every,
                   held_out=False),
            Player("generator", self.network.generator, self.generator_loss, own.generator_lr, own.betas,
                   held_out=False),
        ]  # fmt: skip

    def critic_loss(self, batch: Batch) -> Loss:
        with torch.no_grad():
            made = self.make(self._noise(batch), batch.given)
        x, y = self._seen(batch.x), self._seen(made)
        if self.config.loss == "wgan":
            return self._wgan_loss(x, y, batch.given)
        x, y = x.requires_grad_(), y.requires_grad_()
        real, fake = self.network.critic(x, batch.given), self.network.critic(y, batch.given)
        if self.config.loss == "nonsaturating":
            keep, wrong = 1.0 - self.config.smooth, self.config.smooth
            value = keep * F.softplus(-real) + wrong * F.softplus(real) + F.softplus(fake)
        else:
            value = F.softplus(fake - real)
        parts = {"apart": float((real - fake).mean().detach())}
        if self.config.penalty == 0.0:
            return Loss(value.mean(), parts)
        steep = gradient_norm_squared(real, x) + gradient_norm_squared(fake, y)
        parts["steep"] = float(steep.mean().detach())
        return Loss(value.mean() + self.config.penalty / 2 * steep.mean(), parts)

    def _wgan_loss(self, x: Tensor, y: Tensor, given: Tensor | None) -> Loss:
        real, fake = self.network.critic(x, given), self.network.critic(y, given)
        apart = fake.mean() - real.mean()
        if self.config.penalty == 0.0:
            return Loss(apart, {"apart": -float(apart.detach())})
        share = torch.rand(len(x), 1, 1, 1, device=x.device)
        between = torch.lerp(x, y, share).requires_grad_()
        norm = (gradient_norm_squared(self.network.critic(between, given), between) + 1e-12).sqrt()
        value = apart + self.config.penalty * (norm - 1).square().mean()
        return Loss(value, {"apart": -float(apart.detach()), "steep": float(norm.mean().detach())})

    def generator_loss(self, batch: Batch) -> Loss:
        fake = self.network.critic(self._seen(self.make(self._noise(batch), batch.given)), batch.given)
        if self.config.loss == "wgan":
            return Loss(-fake.mean())
        if self.config.loss == "nonsaturating":
            return Loss(F.softplus(-fake).mean())
        with torch.no_grad():
            real = self.network.critic(self._seen(batch.x), batch.given)
        return Loss(F.softplus(real - fake).mean())

    def make(self, z: Tensor, given: Tensor | None) -> Tensor:
        """(B, codes) to (B, *shape), from -1 to 1."""
        found: Tensor = self.network.generator(z, given)
        return found.tanh()

    def frames(self, ask: Ask) -> Iterator[Preview]:
        device = next(self.network.parameters()).device
        z = Noise(ask.seed, ask.count, first=ask.first).draw(self.noise_shape) if ask.noise is None else ask.noise
        given = None if ask.given is None else ask.given.to(device)
        yield Preview(self.make(ask.temperature * z.to(device), given), 1, 1)

    def _noise(self, batch: Batch) -> Tensor:
        return torch.randn(len(batch.x), self.config.codes, device=batch.x.device)

    def _seen(self, x: Tensor) -> Tensor:
        return augment(x, self.config.augment)


def gradient_norm_squared(score: Tensor, x: Tensor) -> Tensor:
    """(B,) |grad of score (B,) by x (B, …)|², which can itself be differentiated."""
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(1)
