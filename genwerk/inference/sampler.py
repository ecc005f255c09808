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
          number (PCG64) is used per token, in float64, so a seed means the same whatever the filters; p and logprobs
          are float64 too. Log-probabilities are those of the raw logits before penalties, filters and temperature, as
          OpenAI reports them; where the answer's form is constrained, those of the allowed tokens. A row is handled
          alone, so no bit depends on the rows beside it.
Left out: eta, mirostat; beams are beam_search.py.
Try it:   pytest tests/inference/test_sampler.py
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genwerk.core.errors import ModelError
from genwerk.core.types import Sampling
from genwerk.inference.logits import Logits, Tokens
from genwerk.inference.penalties import penalise

__all__ = [
    "SAMPLER", "Alternative", "Draw", "TokenLogprob", "distribution", "make_generator", "sample", "token_logprob",
]  # fmt: skip

SAMPLER = f"numpy {np.__version__} PCG64"  # what draws a token, for receipts

_HEAD = 512  # how many of the likeliest tokens are sorted before the whole vocabulary is
_PIECE = 256  # weights that are added up at once


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


class _Kept(NamedTuple):
    """Tokens that may be drawn, by id, and what they weigh: p but for a factor. None: all tokens."""

    tokens: Tokens | None
    weights: NDArray[np.float64]

    def at(self, places: NDArray[np.int64]) -> _Kept:
        return _Kept(places if self.tokens is None else self.tokens[places], self.weights[places])


def make_generator(seed: int) -> np.random.Generator:
    """The generator of one request. Every request has its own, so neighbours cannot change its tokens."""
    return np.random.Generator(np.random.PCG64(seed % 2**64))


def sample(
    logits: Logits, history: Sequence[int], prompt: Sequence[int], sampling: Sampling, generator: np.random.Generator
) -> Draw:
    """Draw one token. logits (V,); `history` and `prompt` are ids, for the penalties.

    Raises ModelError where the logits are NaN or infinite: a broken model never turns into text.
    """
    likeliest = int(logits.argmax())  # a NaN where there is one
    if not math.isfinite(best := float(logits[likeliest])):
        raise ModelError(
            f"the model's logits are not finite (largest: {best}) after {len(prompt) + len(history)} tokens",
            remedy="The weights or the adapter are damaged or have diverged; load another checkpoint.",
        )
    scores = penalise(logits, history, prompt, sampling)
    if sampling.temperature > 0.0:
        token = _draw(scores, sampling, generator)
    else:
        token = likeliest if scores is logits else int(scores.argmax())
    if sampling.logprobs is None:
        return Draw(token)
    found = token_logprob(logits, token, sampling.logprobs)
    return Draw(token, found.logprob, found.top)


def token_logprob(logits: Logits, token: int, top: int) -> TokenLogprob:
    """ln p of `token` and of the `top` likeliest after logits (V,): the largest first, of equals the lowest id."""
    largest = float(logits.max())
    z = logits.astype(np.float64)
    z -= largest
    total = largest + math.log(np.exp(z, out=z).sum())
    likeliest = tuple(Alternative(one, float(logits[one]) - total) for one in _largest(logits, top))
    return TokenLogprob(token, float(logits[token]) - total, likeliest)


def _largest(z: Logits, count: int) -> list[int]:
    """Ids of the `count` largest."""
    left, found = z.copy(), list[int]()
    while len(found) < count and left[best := int(left.argmax())] > -np.inf:
        found.append(best)
        left[best] = -np.inf
    rest: list[int] = np.flatnonzero(z == -np.inf)[: count - len(found)].tolist()
    return found + rest


def distribution(scores: NDArray[np.floating], sampling: Sampling) -> NDArray[np.float64]:
    """Probabilities after temperature and all filters. scores (V,) → (V,), zero where filtered."""
    tokens, weights = _keep(scores, sampling)
    p = np.zeros(len(scores))
    p[slice(None) if tokens is None else tokens] = weights / weights.sum()
    return p


def _draw(scores: Logits, sampling: Sampling, generator: np.random.Generator) -> int:
    tokens, weights = _keep(scores, sampling)
    place = _pick(weights, generator.random())
    return place if tokens is None else int(tokens[place])


def _keep(scores: NDArray[np.floating], sampling: Sampling) -> _Kept:
    """The tokens that may be drawn from scores (V,)."""
    tokens = None
    if 0 < sampling.top_k < len(scores):
        tokens = np.flatnonzero(scores >= np.partition(scores, -sampling.top_k)[-sampling.top_k])
        scores = scores[tokens]
    z = scores.astype(np.float64)
    z -= z.max()
    with np.errstate(over="ignore"):  # where T vanishes, all but the largest become -inf
        z /= sampling.temperature
    kept = _Kept(tokens, np.exp(z, out=z))
    if sampling.top_p < 1.0:
        kept = kept.at(_fewest(-kept.weights, kept.weights, sampling.top_p))
    if sampling.min_p > 0.0:
        kept = kept.at(np.flatnonzero(kept.weights >= sampling.min_p * kept.weights.max()))
    if sampling.typical_p < 1.0:
        kept = kept.at(_fewest(_distance(kept.weights), kept.weights, sampling.typical_p))
    return kept


def _distance(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the surprise of each token is from the mean surprise."""
    p = weights / weights.sum()
    surprise = -np.log(np.maximum(p, 1e-300))
    return np.where(p > 0, np.abs(surprise - (p * surprise).sum()), np.inf)


def _fewest(rank: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Places of the fewest tokens of lowest rank that make `share` of the weight; equals are kept by lowest id."""
    needed = share * weights.sum()
    head = np.flatnonzero(rank <= np.partition(rank, _HEAD)[_HEAD]) if len(rank) > _HEAD else None
    if head is None or weights[head].sum() < needed:
        order = np.argsort(rank, kind="stable")
    else:  # equals of its last came along, so this is the beginning of the whole order
        order = head[np.argsort(rank[head], kind="stable")]
    ordered = weights[order]
    return np.sort(order[ordered.cumsum() - ordered < needed])


def _pick(weights: NDArray[np.float64], u: float) -> int:
    """The first place at which the weights so far exceed `u` of all; they are added up in pieces, which is quicker."""
    mass = np.add.reduceat(weights, np.arange(0, len(weights), _PIECE)).cumsum()
    wanted = u * mass[-1]
    piece = _first_beyond(mass, wanted)
    start, before = piece * _PIECE, mass[piece - 1] if piece else 0.0
    return start + _first_beyond(weights[start : start + _PIECE].cumsum(), wanted - before)


def _first_beyond(mass: NDArray[np.float64], wanted: float) -> int:
    """Where rounding has carried `wanted` to the end, the last place that adds anything."""
    return min(int(mass.searchsorted(wanted, side="right")), int(mass.searchsorted(mass[-1])))
