"""Draw the next token from logits: greedy, or temperature with top-k, top-p, min-p and typical sampling.

Sources: Fan et al. (2018), top-k; Holtzman et al. (2019), top-p; Nguyen et al. (2024), min-p; Meister et al. (2022),
locally typical sampling.

    z <- penalties(z)                       penalties.py
    p  = softmax(z / T)                     T = 0: the largest z, lowest id where several are equal
    top-k   keep j with z_j >= the k-th largest z (equals of the k-th stay)
    top-p   keep the fewest most likely j whose p, renormalised after top-k, sums to at least top_p
    min-p   keep j with p_j >= min_p · max p
    typical keep the fewest j with the smallest | -ln p_j - H | whose p sums to at least typical_p,  H = -sum p ln p
    token   = the first kept j, by id, whose cumulative p exceeds u,  u ~ U[0, 1)

Chosen:   the order above is that of transformers (penalties, temperature, top-k, top-p, min-p, typical). One uniform
          number is used per token, in float64, so a seed means the same whatever the filters. Log-probabilities are
          those of the raw logits before penalties, filters and temperature, as OpenAI reports them; where the answer's
          form is constrained, those of the allowed tokens.
Left out: eta, mirostat; beams are beam_search.py.
Try it:   pytest tests/inference/test_sampler.py
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from genwerk.core.errors import ModelError
from genwerk.core.types import Sampling
from genwerk.inference.masks import is_plain
from genwerk.inference.penalties import penalise

__all__ = ["Alternative", "Draw", "TokenLogprob", "distribution", "make_generator", "sample"]

_HEAD = 512  # how many of the likeliest tokens are sorted before the whole vocabulary is


class Alternative(NamedTuple):
    """One of the likeliest tokens at a position; `logprob` in nats."""

    token: int
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log-probability (nats) of a token and of the likeliest ones at its place, under the raw distribution."""

    token: int
    logprob: float
    top: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Draw:
    """A drawn token. `logprob` (nats, raw distribution) and `top` are there when `sampling.logprobs` is not None."""

    token: int
    logprob: float | None = None
    top: tuple[Alternative, ...] = ()


def make_generator(seed: int) -> torch.Generator:
    """The generator of one request. Every request has its own, so neighbours cannot change its tokens."""
    return torch.Generator("cpu").manual_seed(seed)


def sample(
    logits: Tensor, history: Sequence[int], prompt: Sequence[int], sampling: Sampling, generator: torch.Generator
) -> Draw:
    """Draw one token. logits (V,); `history` and `prompt` are ids, for the penalties.

    Raises ModelError where the logits are NaN or infinite: a broken model never turns into text.
    """
    best = float(logits[_largest(logits)])
    if not math.isfinite(best):
        raise ModelError(
            f"the model's logits are not finite (largest: {best}) after {len(prompt) + len(history)} tokens",
            remedy="The weights or the adapter are damaged or have diverged; load another checkpoint.",
        )
    scores = penalise(logits, history, prompt, sampling)
    if sampling.temperature == 0.0:
        token = _largest(scores)
    else:
        mass = distribution(scores, sampling).cumsum(0)
        u = torch.rand((), dtype=torch.float64, generator=generator).to(mass.device)
        token = min(int(torch.searchsorted(mass, u * mass[-1], right=True)), _last_possible(mass))
    if sampling.logprobs is None:
        return Draw(token)
    logprobs = logits.float().log_softmax(0)
    values, ids = logprobs.topk(min(sampling.logprobs, len(logprobs)))
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return Draw(token, float(logprobs[token]), tuple(Alternative(i, p) for i, p in pairs))


def _largest(z: Tensor) -> int:
    """The id of the largest, the lowest where several are equal; of a NaN where there is one."""
    if is_plain(z):
        return int(z.numpy().argmax())  # PyTorch's takes twenty times as long, and wakes its threads
    return int(z.argmax())


def distribution(scores: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities after temperature and all filters. scores (V,) → (V,) float64, zero where filtered."""
    z = scores.double()
    z = (z - z.max()) / sampling.temperature
    if 0 < sampling.top_k < z.shape[0]:
        z = z.masked_fill(z < z.topk(sampling.top_k).values[-1], -math.inf)
    weights = z.exp()
    if sampling.top_p < 1.0:
        weights = _nucleus(weights, sampling.top_p)
    if sampling.min_p > 0.0:
        weights = weights.masked_fill(weights < sampling.min_p * weights.max(), 0.0)
    if sampling.typical_p < 1.0:
        weights = _typical(weights / weights.sum(), sampling.typical_p)
    return weights / weights.sum()


def _typical(p: Tensor, typical_p: float) -> Tensor:
    """Zero all but those tokens whose surprise is nearest the mean surprise; equals are kept by lowest id."""
    surprise = -p.clamp_min(1e-300).log()  # (V,)
    distance = (surprise - (p * surprise).sum()).abs().masked_fill(p == 0, math.inf)
    order = distance.sort(stable=True).indices
    mass = p[order].cumsum(0)
    kept = order[(mass - p[order] < typical_p) & (p[order] > 0)]
    return torch.zeros_like(p).index_copy(0, kept, p[kept])


def _nucleus(weights: Tensor, top_p: float) -> Tensor:
    """Zero all but the fewest largest weights that make `top_p` of the sum; equals are kept by lowest id."""
    needed = top_p * weights.sum()
    floor = weights.topk(min(_HEAD, weights.shape[0])).values[-1]
    ids = (weights >= floor).nonzero()[:, 0]  # ties at the floor come along, so the sorted order is the full one's
    if weights[ids].sum() < needed:
        ids = torch.arange(weights.shape[0], device=weights.device)
    ordered, order = weights[ids].sort(descending=True, stable=True)
    kept = ids[order[ordered.cumsum(0) - ordered < needed]]
    nucleus = torch.zeros_like(weights)
    nucleus[kept] = weights[kept]
    return nucleus


def _last_possible(mass: Tensor) -> int:
    """The last index that adds probability: u can round up to the whole mass."""
    return int(torch.searchsorted(mass, mass[-1]))
