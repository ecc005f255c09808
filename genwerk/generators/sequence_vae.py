"""Variational autoencoder of sequences: a molecule becomes a short code, and tokens are drawn from the code.

Source: Bowman et al. (2015), Generating sentences from a continuous space, sections 3 and 3.1 for what keeps the code
in use; Gómez-Bombarelli et al. (2018) for molecules; the bound and free bits as in vae.py.

    ln p(x) >= E_q ln p(x | z) - KL( q(z | x) | N(0, I) )          ln p(x | z) = sum_t ln p( x_t | x_1 … x_(t-1), z )
    loss     = ( -E_q ln p(x | z) + β sum_j max( KL_j, free ) ) / tokens of a sequence

q   the decoder's network over the tokens: its state at the last one has seen them all
forget   share of tokens that are hidden from the network that draws, in training: what it cannot see is in the code

Chosen:   the code is added to every token's embedding, so that no layer has to remember it.
Left out: a second network that says what the code is worth (properties).
Try it:   genwerk run recipes/molecules-vae.yaml
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from genwerk.core.config import Config, Field
from genwerk.data.sequences import BEGIN, PAD
from genwerk.generators.autoregressive import decoder_config, log_likelihood
from genwerk.generators.family import Ask, Batch, Loss, Player, Preview, Space
from genwerk.generators.noise import Noise
from genwerk.generators.token_drawing import draw_tokens
from genwerk.generators.vae import Posterior, kl_normal
from genwerk.models.sequence import SequenceNetwork

__all__ = ["SequenceVAE", "SequenceVAEConfig"]


class SequenceVAEConfig(Config):
    """Two decoders, one that reads and one that draws; the defaults learn molecules in ten minutes on two cores."""

    codes: int = Field(16, ge=1, description="numbers in a code")
    width: int = Field(192, ge=8, multiple_of=8, description="of the states between layers")
    depth: int = Field(3, ge=1, description="layers of the network that draws")
    reading_depth: int = Field(1, ge=1, description="layers of the one that reads")
    reading_width: int = Field(96, ge=8, multiple_of=8, description="of its states; a short code asks little of it")
    heads: int = Field(4, ge=1, description="of attention in each layer")
    beta: float = Field(1.0, ge=0, description="how dearly codes are paid; 1 is the bound itself")
    free: float = Field(0.2, ge=0, description="nats a number of the code costs nothing: so much it may say")
    forget: float = Field(0.0, ge=0, lt=1, description="share of tokens that are hidden from what draws, in training")
    optimiser: Literal["muon", "adamw"] = Field("muon", description="muon learns more of each example")
    lr: float = Field(5e-3, gt=0, description="highest learning rate")
    betas: tuple[float, float] = Field((0.9, 0.98), description="memory of AdamW's two running means")
    weight_decay: float = Field(0.05, ge=0, description="pull of the matrices towards zero")


class Networks(nn.Module):
    """What reads, and what draws; both are told what is asked for."""

    def __init__(self, config: SequenceVAEConfig, space: Space) -> None:
        super().__init__()
        shape = decoder_config(config.width, config.depth, config.heads, space)
        reading = decoder_config(config.reading_width, config.reading_depth, config.heads, space)
        told = {"classes": space.classes, "vector": space.vector}
        self.encoder = SequenceNetwork(reading, **told)
        self.heads = nn.Linear(config.reading_width, 2 * config.codes)
        self.decoder = SequenceNetwork(shape, code=config.codes, **told)


class SequenceVAE:
    """A family, see family.py."""

    uses = frozenset({"given", "noise", "temperature", "rule"})

    def __init__(self, config: SequenceVAEConfig, space: Space) -> None:
        self.config, self.space, self.noise_shape = config, space, (config.codes,)
        self.length = space.sequence
        self.network = Networks(config, space)

    def players(self) -> Sequence[Player]:
        own = self.config
        return [Player("vae", self.network, self.loss, own.lr, own.betas, own.weight_decay,
                       optimiser=own.optimiser)]  # fmt: skip

    def loss(self, batch: Batch) -> Loss:
        posterior = self.posterior(batch.x, batch.given)
        log_px = self.log_likelihood(batch.x, posterior.draw(), batch.given)
        kl = kl_normal(posterior)  # (B, codes)
        paid = kl.mean(0).clamp(min=self.config.free).sum()
        tokens = (batch.x != PAD).sum() / len(batch.x)
        bound = kl.sum(1).mean() - log_px.mean()
        parts = {"bound": float(bound.detach()), "kl": float(kl.sum(1).mean().detach())}
        return Loss((self.config.beta * paid - log_px.mean()) / tokens, parts)

    def posterior(self, x: Tensor, given: Tensor | None = None) -> Posterior:
        """Of sequences (B, T)."""
        network = self.network.encoder
        hidden = network.decoder.hidden(x, also=network.told(given, len(x)))  # (B, T, width)
        last = (x != PAD).sum(1) - 1
        found = self.network.heads(hidden[torch.arange(len(x), device=x.device), last])
        mean, log_deviation = found.float().chunk(2, 1)
        return Posterior(mean, log_deviation.clamp(-8.0, 4.0))

    def log_likelihood(self, x: Tensor, z: Tensor, given: Tensor | None = None) -> Tensor:
        """(B,) ln p(x | z) in nats; tokens are hidden only in training."""
        network = self.network.decoder
        seen = x
        if self.network.training and self.config.forget:
            seen = x.masked_fill(torch.rand(x.shape, device=x.device) < self.config.forget, BEGIN)
        return log_likelihood(network(seen, network.told(given, len(x), z)), x)

    def encode(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """(B, codes): the mean of each sequence's code."""
        return self.posterior(x, given).mean

    def frames(self, ask: Ask) -> Iterator[Preview]:
        network, own = self.network.decoder, Noise(ask.seed, ask.count, first=ask.first)
        device = network.decoder.device
        code = own.draw(self.noise_shape)  # also where another is given: what is drawn for tokens comes after it
        code = (code if ask.noise is None else ask.noise).to(device)
        told = network.told(None if ask.given is None else ask.given.to(device), ask.count, code)
        cache = network.cache(ask.count, self.length)
        return draw_tokens(lambda last: network.next(last, told, cache), ask, own.draw((self.length,)), device)
