"""Variational autoencoder: a picture becomes a short code and comes back; codes drawn from noise become new pictures.

Source: Kingma and Welling (2013), Auto-encoding variational Bayes, eqs. 7 and 10; Higgins et al. (2017), β-VAE; Kingma
et al. (2016), section C.8, free bits; Burda et al. (2015), Importance weighted autoencoders, eq. 8; Rybkin et al.
(2021), Simple and effective VAE training with calibrated decoders (σ-VAE), eq. 5.

    ELBO  = E_q ln p(x | z) - KL( q(z | x) | N(0, I) )            q = N(mean(x), deviation(x)²)
    IWAE  = E ln 1/k sum_i p(x | z_i) p(z_i) / q(z_i | x)          ELBO at k = 1, tighter with more
    loss  = -E_q ln p(x | z) + β sum_j max( KL_j, free )

p(x | z)  bernoulli: pixels are coins, drawn anew whenever a picture is read, so bounds are of binary pictures, in nats
          gaussian: one deviation for all pixels, the best one for the batch

Chosen:   free bits hold for each number of a code, over the mean of the batch; the condition is told to both networks;
          of clips the same two networks see each frame alone, and a clip's code is those of its frames in a row.
Left out: hierarchies, normalising flows over codes; codes from a table are vq.py.
Try it:   genwerk run recipes/digits-vae.yaml
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genwerk.core.config import Config, Field
from genwerk.core.errors import ModelError
from genwerk.generators.family import Ask, Batch, Loss, Player, Preview, Space
from genwerk.generators.noise import Noise
from genwerk.models.condition import Condition
from genwerk.models.convnet import GridDecoder, GridEncoder, PictureDecoder, PictureEncoder

__all__ = ["VAE", "VAEConfig", "elbo", "iwae", "kl_normal"]


_FRAMES = 4  # of a clip, that a step of training sees


class VAEConfig(Config):
    """A convolutional VAE; the defaults suit small pictures on two cores."""

    codes: int = Field(32, ge=1, description="numbers in a code, or at each place of a grid of codes")
    halvings: int = Field(0, ge=0, description="0: one code for a picture; above: a grid, halved so often, for latent")
    frames: bool = Field(False, description="of clips, whose channels are frames: a code for each frame, for latent")
    blocks: int = Field(1, ge=1, description="of a grid: residual blocks a level")
    width: int = Field(32, ge=1, description="channels at half the size, doubled with every halving")
    likelihood: Literal["bernoulli", "gaussian"] = Field(
        "bernoulli", description="of a pixel: a coin, or around a mean"
    )
    beta: float = Field(1.0, ge=0, description="how dearly codes are paid; 1 is the bound itself")
    free: float = Field(0.0, ge=0, description="nats a number of the code costs nothing")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the encoder's last vector dropped in training")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    betas: tuple[float, float] = Field((0.9, 0.99), description="memory of AdamW's two running means")
    weight_decay: float = Field(0.0, ge=0, description="pull of the matrices towards zero")


class Posterior(NamedTuple):
    """q(z | x): (B, codes) each, or (B, codes, h, w); of clips (B, codes, frames, 1)."""

    mean: Tensor
    log_deviation: Tensor

    def draw(self) -> Tensor:
        return self.mean + self.log_deviation.exp() * torch.randn_like(self.mean)


class Networks(nn.Module):
    """Encoder and decoder; what is asked for is told to both."""

    def __init__(self, config: VAEConfig, space: Space) -> None:
        super().__init__()
        told = {"classes": space.classes, "vector": space.vector}
        shape, codes, inner = space.picture, config.codes, 4 * config.codes
        self.dropout, self.condition = config.dropout, Condition(inner, **told)
        self.encoder: nn.Module
        self.heads: nn.Module
        self.decoder: nn.Module
        if config.halvings:
            sizes = {"width": config.width, "blocks": config.blocks}
            self.encoder = GridEncoder(shape, inner, config.halvings, **sizes)
            self.heads = nn.Conv2d(inner, 2 * codes, 1)
            self.decoder = GridDecoder(codes, shape, config.halvings, **sizes, **told)
        else:
            self.encoder = PictureEncoder(shape, inner, width=config.width)
            self.heads = nn.Linear(inner, 2 * codes)
            self.decoder = PictureDecoder(codes, shape, width=config.width, **told)


class VAE:
    """A family, see family.py; and a codec: `encode` and `decode`."""

    uses = frozenset({"given", "noise", "temperature"})

    def __init__(self, config: VAEConfig, space: Space) -> None:
        if config.frames and config.halvings:
            raise ModelError("a frame has one code, no grid of codes", remedy="Leave out `halvings` or `frames`.")
        self.config, self.space = config, space
        n_frames, *sides = space.picture
        self.network = Networks(config, replace(space, shape=(1, *sides)) if config.frames else space)
        self.noise_shape: tuple[int, ...] = (config.codes,)
        if config.halvings:
            self.noise_shape = (config.codes, *(side >> config.halvings for side in sides))
        elif config.frames:
            self.noise_shape = (config.codes, n_frames, 1)

    def players(self) -> Sequence[Player]:
        own = self.config
        return [Player("vae", self.network, self.loss, own.lr, own.betas, own.weight_decay)]

    def loss(self, batch: Batch) -> Loss:
        x = self.read(self._some(batch.x))
        posterior = self.posterior(x, batch.given)
        log_px = self.log_likelihood(x, posterior.draw(), batch.given)
        kl = kl_normal(posterior).flatten(1)  # (B, numbers of a code)
        paid = kl.mean(0).clamp(min=self.config.free).sum()
        bound = -log_px.mean() + kl.sum(1).mean()
        parts = {"bound": float(bound.detach()), "kl": float(kl.sum(1).mean().detach())}
        return Loss(-log_px.mean() + self.config.beta * paid, parts)

    def _some(self, x: Tensor) -> Tensor:
        """Of clips some frames, anew for each batch: a step of as many frames then has more clips."""
        return x[:, torch.randperm(x.shape[1])[:_FRAMES]] if self.config.frames else x

    def read(self, x: Tensor) -> Tensor:
        """Pictures as the likelihood sees them: coins that fell, or as they are."""
        return torch.bernoulli((x + 1) / 2) * 2 - 1 if self.config.likelihood == "bernoulli" else x

    def posterior(self, x: Tensor, given: Tensor | None = None) -> Posterior:
        if not self.config.frames:
            return self._posterior(x, given)
        B, T = x.shape[:2]
        each = self._posterior(x.flatten(0, 1)[:, None], _of_each(given, T))  # (B T, codes)
        mean, log_deviation = (one.view(B, T, -1, 1).transpose(1, 2) for one in each)
        return Posterior(mean, log_deviation)

    def _posterior(self, x: Tensor, given: Tensor | None) -> Posterior:
        h = self.network.encoder(x)
        asked = self.network.condition(given, len(x))
        h = h + (asked if h.ndim == 2 else asked[:, :, None, None])
        h = F.dropout(F.silu(h), self.network.dropout, self.network.training)
        mean, log_deviation = self.network.heads(h).chunk(2, 1)
        return Posterior(mean, log_deviation.clamp(-8.0, 4.0))

    def log_likelihood(self, x: Tensor, z: Tensor, given: Tensor | None = None) -> Tensor:
        """(B,) ln p(x | z) in nats."""
        found = self._decoded(z, given)
        if self.config.likelihood == "bernoulli":
            return -F.binary_cross_entropy_with_logits(found, (x + 1) / 2, reduction="none").flatten(1).sum(1)
        error = (x - found.tanh()).square().flatten(1)  # (B, places)
        variance = error.mean().clamp(min=1e-6)
        return -0.5 * (error / variance + variance.log() + math.log(2 * math.pi)).sum(1)

    def encode(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """(B, *noise_shape): the mean of each picture's code."""
        return self.posterior(x, given).mean

    def decode(self, z: Tensor, given: Tensor | None = None) -> Tensor:
        """(B, *shape): the mean of the pixels, from -1 to 1."""
        found = self._decoded(z, given)
        return found.sigmoid() * 2 - 1 if self.config.likelihood == "bernoulli" else found.tanh()

    def _decoded(self, z: Tensor, given: Tensor | None) -> Tensor:
        """(B, *shape) before it is bounded."""
        if self.config.frames:
            each: Tensor = self.network.decoder(
                z.squeeze(-1).transpose(1, 2).flatten(0, 1), _of_each(given, z.shape[2])
            )
            return each.view(len(z), -1, *each.shape[-2:])
        found: Tensor = self.network.decoder(z, given)
        return found

    def frames(self, ask: Ask) -> Iterator[Preview]:
        device = next(self.network.parameters()).device
        z = Noise(ask.seed, ask.count, first=ask.first).draw(self.noise_shape) if ask.noise is None else ask.noise
        given = None if ask.given is None else ask.given.to(device)
        yield Preview(self.decode(ask.temperature * z.to(device), given), 1, 1)


def _of_each(given: Tensor | None, n_frames: int) -> Tensor | None:
    return None if given is None else given.repeat_interleave(n_frames, 0)


def kl_normal(posterior: Posterior) -> Tensor:
    """(B, …) nats of each number of a code beyond N(0, 1)."""
    mean, log_deviation = posterior
    return 0.5 * (mean.square() + (2 * log_deviation).exp() - 1) - log_deviation


@torch.no_grad()
def elbo(vae: VAE, x: Tensor, given: Tensor | None = None) -> Tensor:
    """(B,) nats: the bound with one draw and the divergence in closed form; x as `VAE.read` gives it."""
    posterior = vae.posterior(x, given)
    return vae.log_likelihood(x, posterior.draw(), given) - kl_normal(posterior).flatten(1).sum(1)


@torch.no_grad()
def iwae(vae: VAE, x: Tensor, given: Tensor | None = None, *, draws: int = 64) -> Tensor:
    """(B,) nats: the bound with so many draws."""
    posterior = vae.posterior(x, given)
    each = []
    for _ in range(draws):
        z = posterior.draw()
        apart = (z - posterior.mean) / posterior.log_deviation.exp()
        weight = -0.5 * z.square() + 0.5 * apart.square() + posterior.log_deviation  # ln p(z) - ln q(z | x)
        each.append(vae.log_likelihood(x, z, given) + weight.flatten(1).sum(1))
    return torch.stack(each).logsumexp(0) - math.log(draws)
