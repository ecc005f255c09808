"""Latent diffusion: a codec makes small pictures of codes, and a flow learns to draw those.

Source: Rombach et al. (2022), High-resolution image synthesis with latent diffusion models, section 3; Blattmann et al.
(2023), Align your latents, section 3, for a codec of frames and a prior of clips.

    z = (encode(x) - m) / s          x = decode(s z + m)          m, s: mean and deviation of each channel of codes

m and s are measured on the pictures that are learned from before the first step, so that codes are as wide as noise.

Chosen:   codes are drawn, not their mean, so that the flow sees what the decoder was trained on; the codec is trained
          before, and frozen, so that each picture is encoded once; with a condition only the flow is asked. What is
          kept of a picture is kept to the bit, and a preview is decoded when it is looked at.
Left out: adversarial and perceptual losses of the codec.
Try it:   genwerk run recipes/emoji.yaml
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from genwerk.core.config import Config, Field
from genwerk.core.errors import ModelError
from genwerk.generators.denoising import DENOISING
from genwerk.generators.family import Ask, Batch, Family, Loss, Player, Preview, Space
from genwerk.generators.flow import Flow, FlowConfig
from genwerk.generators.networks import NetworkConfig
from genwerk.generators.vae import VAE, Posterior, VAEConfig
from genwerk.models.convnet import whole_cells

__all__ = ["Latent", "LatentConfig"]

_CODEC = VAEConfig(codes=4, halvings=3, likelihood="gaussian", beta=0.05, blocks=2)
_PRIOR = FlowConfig(network=NetworkConfig(kind="dit", width=256, depth=6, heads=4, patch=1))


class LatentConfig(Config):
    """A codec with a grid of codes, and a flow over it."""

    codec: VAEConfig = Field(_CODEC, description="what makes codes of pictures; `halvings` must be 1 or more")
    prior: FlowConfig = Field(_PRIOR, description="what draws codes")


class Networks(nn.Module):
    """The codec, frozen; the flow; and what is measured of the codes."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, codec: nn.Module, prior: nn.Module, channels: int) -> None:
        super().__init__()
        self.codec, self.prior = codec, prior
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("deviation", torch.ones(channels, 1, 1))


class Latent:
    """A family, see family.py. Raises ModelError for a codec without a grid."""

    uses = DENOISING

    def __init__(self, config: LatentConfig, space: Space) -> None:
        if not config.codec.halvings and not config.codec.frames:
            remedy = "Set `codec: {halvings: 2}` or more, or for clips `codec: {frames: true}`."
            raise ModelError("the codec has one code for a picture", remedy=remedy)
        self.config, self.space = config, space
        self.codec = VAE(config.codec, Space(space.shape))
        self.noise_shape = self.codec.noise_shape
        inner = Space(self.noise_shape, classes=space.classes, vector=space.vector)
        self.prior = Flow(config.prior, inner)
        self.network = Networks(self.codec.network, self.prior.network, self.noise_shape[0])

    def adopt(self, codec: Family, pictures: Iterable[Tensor]) -> Tensor:
        """Take over a trained codec, measure its codes on batches of pictures, and return those, see `code`."""
        self.codec.network.load_state_dict(codec.network.state_dict())
        self.codec.network.requires_grad_(False)
        codes = torch.cat([self.code(x) for x in pictures])
        means, log_deviations = (one.double().transpose(0, 1).flatten(1) for one in codes.unbind(1))  # (c, N h w)
        variance = means.var(1, correction=0) + (2 * log_deviations).exp().mean(1)  # of what is drawn
        self.network.mean.copy_(means.mean(1)[:, None, None])
        self.network.deviation.copy_(variance.clamp(min=1e-8).sqrt()[:, None, None])
        return codes

    @torch.no_grad()
    def code(self, x: Tensor) -> Tensor:
        """(B, 2, c, h, w): means and logarithms of the deviations of the codes of pictures."""
        self.codec.network.eval()
        return torch.stack(self.codec.posterior(x), 1)

    def players(self) -> Sequence[Player]:
        (own,) = self.prior.players()
        return [replace(own, name="latent", loss=self.loss)]

    def loss(self, batch: Batch) -> Loss:
        codes = self.code(batch.x) if batch.codes is None else batch.codes
        return self.prior.loss(Batch(self._as_wide_as_noise(Posterior(*codes.unbind(1)).draw()), batch.given))

    def encode(self, x: Tensor) -> Tensor:
        """(B, c, h, w) codes, as wide as noise; of clips (B, c, frames, 1)."""
        return self._as_wide_as_noise(self.codec.posterior(x).mean)

    def _as_wide_as_noise(self, z: Tensor) -> Tensor:
        return (z - self.network.mean) / self.network.deviation

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, H, W) from -1 to 1."""
        return self.codec.decode(z * self.network.deviation + self.network.mean)

    def _whole(self, keep: Tensor) -> Tensor:
        """(B, 1, h, w): codes of which every pixel is kept; of clips (B, 1, frames, 1)."""
        if self.config.codec.frames:
            return keep.flatten(2).all(2)[:, None, :, None]
        return whole_cells(keep, self.config.codec.halvings)

    def frames(self, ask: Ask) -> Iterator[Preview]:
        """Codes are not bounded, so the prior's previews are not cut to -1 … 1."""
        inner = ask
        if ask.start is not None:
            inner = replace(inner, start=self.encode(ask.start))
        if ask.keep is not None:
            inner = replace(inner, keep=self._whole(ask.keep).expand(-1, self.noise_shape[0], -1, -1))
        for preview in self.prior.unbounded_frames(inner):
            yield Preview(partial(self._shown, preview.x, ask), preview.done, preview.of)

    def _shown(self, z: Tensor, ask: Ask) -> Tensor:
        return ask.with_kept(self.decode(z))
