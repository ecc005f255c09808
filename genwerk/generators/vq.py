"""Codes from a table: a picture becomes a small grid of numbers of vectors, and comes back from those vectors.

Source: van den Oord et al. (2017), Neural discrete representation learning, eqs. 1 to 3 and appendix A.1; Razavi et
al. (2019), Generating diverse high-fidelity images with VQ-VAE-2, section 2; Dhariwal et al. (2020), Jukebox, section
3, for codes begun anew; Arthur and Vassilvitskii (2007), k-means++, for where.

    k    = argmin_j | z - e_j |²,  z = encode(x) at each place of a grid          q = e_k
    loss = mean | x - decode(z + stop(q - z)) |² + β mean | z - stop(q) |²
    N_j <- γ N_j + (1 - γ) n_j          e_j <- e_j + (1 - γ) / N_j  sum over the z of j of (z - e_j)

e_j, n_j  vector j of the table, and how many places of a batch took it;  N_j: of late, so that N_j e_j is A.1's sum
γ, β      memory of the table, and how dearly a place is paid that lies far from its vector

In use are exp(-sum p ln p) codes, p the shares of a batch (perplexity).

Chosen:   the table has no gradient, and follows what is encoded; it is begun from the first batch by k-means++, and a
          code that is hardly used is begun anew where the table fits worst, so that it is no twin of a code in use.
Left out: several tables one after the other, adversarial and perceptual losses, finite scalar quantisation. A codec
          has no draws of its own: codes.py learns to draw codes.
Try it:   genwerk run recipes/digits-codes.yaml
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.core.config import Config, Field
from genwerk.core.errors import RequestError
from genwerk.generators.family import Ask, Batch, Loss, Player, Preview, Space, Use
from genwerk.models.convnet import GridDecoder, GridEncoder

__all__ = ["VQ", "Table", "VQConfig", "perplexity", "straight_through"]


class VQConfig(Config):
    """A convolutional codec; the defaults suit small pictures on two cores."""

    codes: int = Field(128, ge=2, description="vectors in the table")
    numbers: int = Field(16, ge=1, description="in each of them")
    halvings: int = Field(2, ge=1, description="of a picture's sides, until each place of the grid has one code")
    blocks: int = Field(1, ge=1, description="residual blocks a level")
    width: int = Field(32, ge=1, description="channels at half the size, doubled with every halving")
    beta: float = Field(0.25, ge=0, description="how dearly it is paid where a place lies far from its code")
    memory: float = Field(0.95, ge=0, lt=1, description="of the table; nearer to 1 it follows more slowly")
    anew: float = Field(0.05, ge=0, lt=1, description="below this share of even use a code is begun anew")
    lr: float = Field(2e-3, gt=0, description="highest learning rate")
    betas: tuple[float, float] = Field((0.9, 0.99), description="memory of AdamW's two running means")
    weight_decay: float = Field(0.0, ge=0, description="pull of the matrices towards zero")


class Table(nn.Module):
    """vectors: (K, D); counts: (K,), how many places of a batch took each of late, 0 before the first batch."""

    vectors: Tensor
    counts: Tensor

    def __init__(self, codes: int, numbers: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.randn(codes, numbers))
        self.register_buffer("counts", torch.zeros(codes))

    @torch.no_grad()
    def nearest(self, z: Tensor) -> Tensor:
        """(N,) codes of (N, D); pair by pair, so that none depends on its neighbours."""
        return torch.cdist(z, self.vectors, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)

    @torch.no_grad()
    def begin(self, z: Tensor) -> None:
        """From the first (N, D); nothing happens once there are counts."""
        if not self.counts.any():
            self.vectors.copy_(_spread(z, torch.ones_like(z[:, 0]), len(self.vectors)))
            self.counts.fill_(len(z) / len(self.counts))

    @torch.no_grad()
    def follow(self, z: Tensor, codes: Tensor, memory: float, anew: float) -> None:
        """Move towards (N, D) of these codes (N,); those with less than `anew` of even use go to where none is near."""
        taken = F.one_hot(codes, len(self.vectors)).to(z)  # (N, K)
        now = taken.sum(0)
        self.counts.mul_(memory).add_(now, alpha=1 - memory)
        pull = taken.T @ z - now[:, None] * self.vectors
        self.vectors.add_(pull * ((1 - memory) / self.counts.clamp(min=1e-12))[:, None])
        even = len(z) / len(self.counts)
        if (idle := self.counts < anew * even).any():
            far = (z - self.vectors[codes]).square().sum(1)
            self.vectors[idle] = _spread(z, far, int(idle.sum()))
            self.counts[idle] = even


class Networks(nn.Module):
    """Encoder, table and decoder."""

    def __init__(self, config: VQConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        sizes = {"width": config.width, "blocks": config.blocks}
        self.encoder = GridEncoder(shape, config.numbers, config.halvings, **sizes)
        self.table = Table(config.codes, config.numbers)
        self.decoder = GridDecoder(config.numbers, shape, config.halvings, **sizes)


class VQ:
    """A codec: `encode` and `decode`; see family.py for the rest. It is not told what a picture shows.

    grid   (h, w): how many codes a picture has
    """

    uses: frozenset[Use] = frozenset()
    noise_shape = ()

    def __init__(self, config: VQConfig, space: Space) -> None:
        self.config, self.space = config, space
        _, height, width = space.picture
        self.network = Networks(config, space.picture)
        self.grid = (height >> config.halvings, width >> config.halvings)

    def players(self) -> Sequence[Player]:
        own = self.config
        return [Player("vq", self.network, self.loss, own.lr, own.betas, own.weight_decay)]

    def loss(self, batch: Batch) -> Loss:
        """In training the table follows the batch."""
        own, table, learns = self.config, self.network.table, self.network.training
        z = self._places(batch.x)
        if learns:
            table.begin(z)
        codes = table.nearest(z)
        q = table.vectors[codes]
        error = (batch.x - self._picture(straight_through(z, q))).square().mean()
        if learns:
            table.follow(z.detach(), codes, own.memory, own.anew)
        used = perplexity(codes.bincount(minlength=own.codes))
        return Loss(error + own.beta * (z - q).square().mean(), {"error": float(error.detach()), "perplexity": used})

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """(B, h w) codes, row by row, of (B, C, H, W)."""
        return self.network.table.nearest(self._places(x)).view(len(x), -1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """(B, C, H, W) from -1 to 1."""
        return self._picture(self.network.table.vectors[codes.flatten()])

    def frames(self, ask: Ask) -> Iterator[Preview]:
        """Raises RequestError: nothing says which codes belong together."""
        raise RequestError("a codec draws nothing by itself", remedy="Train `family: codes`, which draws its codes.")

    def _places(self, x: Tensor) -> Tensor:
        z: Tensor = self.network.encoder(x)  # (B, D, h, w)
        return z.movedim(1, -1).flatten(0, 2)  # (B h w, D)

    def _picture(self, vectors: Tensor) -> Tensor:
        height, width = self.grid
        found: Tensor = self.network.decoder(vectors.view(-1, height, width, vectors.shape[1]).movedim(-1, 1))
        return found.tanh()


def straight_through(z: Tensor, q: Tensor) -> Tensor:
    """q, whose gradient goes to z as it is."""
    return z + (q - z).detach()


def perplexity(counts: Tensor) -> float:
    """How many codes are in use, were each as frequent, of (K,) counts."""
    shares = counts.double() / counts.sum()
    return float(torch.special.entr(shares).sum().exp())


def _spread(z: Tensor, far: Tensor, count: int) -> Tensor:
    """(count, D) rows of z (N, D), drawn in proportion to (N,) squared distances to the nearest vector there is."""
    found = []
    for _ in range(count):
        found.append(z[torch.multinomial(far + 1e-12, 1)])
        far = torch.minimum(far, (z - found[-1]).square().sum(1))
    return torch.cat(found)
