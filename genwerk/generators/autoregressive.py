"""Autoregression: a sequence is drawn token by token, each one from all before it.

Source: Bengio et al. (2003), A neural probabilistic language model, eq. 1; Vaswani et al. (2017) for the network, which
is the decoder of texts (models/decoder.py).

    ln p(x) = sum_t ln p( x_t | x_1 … x_(t-1), c )          loss = -mean of ln p over the tokens of a batch, in nats

c   what is asked for: a class, a text's vector; a share of it is hidden in training, so that guidance is possible:
    logits + (w - 1) (logits - logits without c)

Chosen:   every draw has its own random numbers (token_drawing.py); where there are bars, the place in one is told.
Left out: orders other than from left to right; tokens to the right of what is kept are not seen.
Try it:   genwerk run recipes/molecules.yaml
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from genwerk.core.config import Config, Field
from genwerk.core.errors import RequestError
from genwerk.data.sequences import PAD
from genwerk.generators.family import Ask, Batch, Loss, Player, Preview, Space
from genwerk.generators.noise import Noise
from genwerk.generators.token_drawing import draw_tokens
from genwerk.models.condition import drop, none_like
from genwerk.models.decoder import DecoderConfig
from genwerk.models.sequence import SequenceNetwork

__all__ = ["Autoregressive", "AutoregressiveConfig", "decoder_config", "log_likelihood"]


class AutoregressiveConfig(Config):
    """A decoder for short sequences; the defaults learn molecules in ten minutes on two cores."""

    width: int = Field(192, ge=8, multiple_of=8, description="of the states between layers")
    depth: int = Field(3, ge=1, description="layers")
    heads: int = Field(4, ge=1, description="of attention in each layer")
    period: int = Field(0, ge=0, description="tokens in a bar, whose places are told; 0: there are no bars")
    optimiser: Literal["muon", "adamw"] = Field("muon", description="muon learns more of each example")
    lr: float = Field(5e-3, gt=0, description="highest learning rate")
    betas: tuple[float, float] = Field((0.9, 0.98), description="memory of AdamW's two running means")
    weight_decay: float = Field(0.05, ge=0, description="pull of the matrices towards zero")
    drop: float = Field(0.1, ge=0, lt=1, description="share of conditions that are hidden, for guidance")


class Autoregressive:
    """A family, see family.py."""

    uses = frozenset({"given", "noise", "temperature", "start", "keep", "guidance", "rule"})

    def __init__(self, config: AutoregressiveConfig, space: Space) -> None:
        length = space.sequence
        self.config, self.space, self.noise_shape = config, space, (length,)
        shape = decoder_config(config.width, config.depth, config.heads, space)
        self.network = SequenceNetwork(shape, classes=space.classes, vector=space.vector, period=config.period)

    def players(self) -> Sequence[Player]:
        own = self.config
        return [Player("autoregressive", self.network, self.loss, own.lr, own.betas, own.weight_decay,
                       optimiser=own.optimiser)]  # fmt: skip

    def loss(self, batch: Batch) -> Loss:
        given = None if batch.given is None else drop(batch.given, self.config.drop)
        total = -log_likelihood(self.network(batch.x, self.network.told(given, len(batch.x))), batch.x).sum()
        count = (batch.x != PAD).sum()
        return Loss(total / count, {"nats": float(total.detach()) / len(batch.x)})

    def frames(self, ask: Ask) -> Iterator[Preview]:
        network, device = self.network, self.network.decoder.device
        given = None if ask.given is None else ask.given.to(device)
        noise = Noise(ask.seed, ask.count, first=ask.first).draw(self.noise_shape) if ask.noise is None else ask.noise
        asked = [given] if given is None or ask.guidance == 1.0 else [given, none_like(given)]
        sides = [(network.told(one, ask.count), network.cache(ask.count, self.space.sequence)) for one in asked]

        def following(last: Tensor) -> Tensor:
            logits, *without = (network.next(last, told, cache) for told, cache in sides)
            return logits if not without else without[0] + ask.guidance * (logits - without[0])

        return draw_tokens(following, ask, noise, device)


def log_likelihood(logits: Tensor, tokens: Tensor) -> Tensor:
    """(B,) ln p of (B, T) tokens in nats, from logits (B, T, V); padding counts nothing."""
    each = F.cross_entropy(logits.transpose(1, 2), tokens, ignore_index=PAD, reduction="none")
    return -each.sum(1)


def decoder_config(width: int, depth: int, heads: int, space: Space) -> DecoderConfig:
    """The decoder for sequences of a space. Raises RequestError where heads do not divide the width."""
    if width % (2 * heads):
        raise RequestError(f"{heads} heads cannot share a width of {width}", param="heads",
                           remedy="Let the width be a multiple of twice the heads.")  # fmt: skip
    wide = -(-8 * width // (3 * 32)) * 32
    return DecoderConfig(vocab_size=space.tokens, d_model=width, n_layers=depth, n_heads=heads, n_kv_heads=heads,
                         head_dim=width // heads, d_ff=wide, max_positions=space.sequence + 1)  # fmt: skip
