"""Pictures by autoregression over codes: a codec makes a grid of codes, and a decoder draws them row by row.

Source: van den Oord et al. (2017), Neural discrete representation learning, section 3.3; Esser et al. (2021), Taming
transformers, section 3.2, for the transformer.

    k = encode(x)          ln p(k) = sum_t ln p( k_t | k_1 … k_(t-1), c )          x = decode(k)
    ln p(k) / (C H W ln 2)      the rate, in bits a number of a picture; what comes back has an error: the distortion

k   (h w,) codes of a picture, row by row (vq.py);   c: what is asked for, which only the decoder of codes is told

Chosen:   tokens are codes behind the three of every vocabulary, of which none is ever drawn, and neither is a code that
          no picture has: the rule of family.py says so. Every place has a vector of its own. Codes whose pixels are
          all kept are kept, and those pixels to the bit; what is not yet drawn is shown as the code used most.
Left out: other orders than row by row, so what is kept below is not seen by what is drawn above it. A code at the edge
          of what is kept has seen a little of what lies beyond.
Try it:   genwerk run recipes/digits-codes.yaml
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from genwerk.core.config import Config, Field
from genwerk.core.errors import ModelError, RequestError
from genwerk.data.sequences import SPECIAL
from genwerk.generators.autoregressive import Autoregressive, AutoregressiveConfig, log_likelihood
from genwerk.generators.family import Ask, Batch, Family, Loss, Player, Preview, Space
from genwerk.generators.vq import VQ, VQConfig
from genwerk.models.convnet import whole_cells

__all__ = ["Codes", "CodesConfig"]

_FIRST = len(SPECIAL)


class CodesConfig(Config):
    """A codec with a table, and what draws its codes."""

    codec: VQConfig = Field(VQConfig(), description="what makes codes of pictures")
    prior: AutoregressiveConfig = Field(AutoregressiveConfig(), description="what draws codes")


class Networks(nn.Module):
    """The codec, frozen; what draws its codes; use: (K,) the share of each code in pictures that were learned from."""

    use: Tensor

    def __init__(self, codec: nn.Module, prior: nn.Module, codes: int) -> None:
        super().__init__()
        self.codec, self.prior = codec, prior
        self.register_buffer("use", torch.full((codes,), 1 / codes))


class Codes:
    """A family, see family.py."""

    uses = frozenset({"given", "noise", "temperature", "guidance", "start", "keep"})

    def __init__(self, config: CodesConfig, space: Space) -> None:
        self.config, self.space = config, space
        self.codec = VQ(config.codec, Space(space.shape))
        places = math.prod(self.codec.grid)
        inner = Space((places,), _FIRST + config.codec.codes, space.classes, space.vector)
        told = config.prior.model_copy(update={"period": config.prior.period or places})
        self.prior, self.noise_shape = Autoregressive(told, inner), (places,)
        self.network = Networks(self.codec.network, self.prior.network, config.codec.codes)

    def adopt(self, codec: Family, pictures: Iterable[Tensor]) -> Tensor:
        """Take over a trained codec, count its codes on batches of pictures, and return those, see `code`.

        Raises ModelError for a table of which one code is in use."""
        self.codec.network.load_state_dict(codec.network.state_dict())
        self.codec.network.requires_grad_(False)
        codes = torch.cat([self.code(x) for x in pictures])
        counts = (codes - _FIRST).flatten().bincount(minlength=len(self.network.use))
        if counts.count_nonzero() < 2:
            raise ModelError("the codec makes the same code of everything", remedy="Lower its learning rate.")
        self.network.use.copy_(counts / counts.sum())
        return codes

    def players(self) -> Sequence[Player]:
        (own,) = self.prior.players()
        return [replace(own, name="codes", loss=self.loss)]

    def loss(self, batch: Batch) -> Loss:
        return self.prior.loss(Batch(self.code(batch.x) if batch.codes is None else batch.codes, batch.given))

    def code(self, x: Tensor) -> Tensor:
        """(B, h w): the tokens of pictures."""
        return self.codec.encode(x) + _FIRST

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """(B,) ln p of the codes of pictures, in nats."""
        tokens, network = self.code(x), self.prior.network
        return log_likelihood(network(tokens, network.told(given, len(x))), tokens)

    def frames(self, ask: Ask) -> Iterator[Preview]:
        """A preview a row of codes. Raises RequestError where a picture is given of which nothing is kept."""
        if ask.start is not None and ask.keep is None:
            raise RequestError("codes are kept or drawn, not changed", param="start", remedy="Say what to `keep`.")
        rows, columns = self.codec.grid
        for preview in self.prior.frames(self._inner(ask)):
            row, rest = divmod(preview.done, columns)
            if not rest:
                codes = preview.x - _FIRST
                codes[:, preview.done :] = self.network.use.argmax()
                yield Preview(partial(self._shown, codes, ask), row, rows)

    def _inner(self, ask: Ask) -> Ask:
        """The same of tokens."""
        inner = replace(ask, rule=_Used(self.network.use > 0))
        if ask.start is None or ask.keep is None:
            return inner
        device = self.network.use.device
        keep = whole_cells(ask.keep, self.config.codec.halvings).flatten(1)
        return replace(inner, start=self.code(ask.start.to(device)), keep=keep)

    def _shown(self, codes: Tensor, ask: Ask) -> Tensor:
        return ask.with_kept(self.codec.decode(codes))


class _Used:
    """A rule, see family.py: only codes that pictures have, (K,), and no end."""

    def __init__(self, used: Tensor) -> None:
        self._may = F.pad(used, (_FIRST, 0)).cpu().numpy()

    def begin(self, count: int) -> None:
        self._all = np.repeat(self._may[None], count, 0)

    def allowed(self, left: int) -> NDArray[np.bool_]:
        return self._all

    def take(self, tokens: NDArray[np.int64]) -> None:
        """Whatever was drawn, the same may follow."""
