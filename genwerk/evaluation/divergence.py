"""How far the network that is served is from the one that was trained, where its weights or its keys and values are
rounded to integers.

    KL = mean over tokens of  sum_v p(v) [log p(v) - log q(v)]

p, q  distribution of the next token in float32 and as it is served, on held-out text; nats per token.

A model that is further away than rounding can explain is refused: something is wrong with its weights, or they are of a
kind that does not bear rounding. What weights and cache may cost adds up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from genwerk.core.errors import ModelError
from genwerk.core.progress import track
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.perplexity import Excerpt
from genwerk.inference.engine import Engine
from genwerk.inference.runner import cache_title
from genwerk.metrics.divergence import kl_divergence
from genwerk.metrics.ratio import ratio_interval
from genwerk.models.decoder import Decoder

__all__ = ["allowed_divergence", "measure_divergence"]

_WEIGHTS = {"int8": 0.03, "int4": 0.15}  # nats per token; SmolLM2-135M measures about 0.005 and 0.003
_CACHE = {"int8": 0.005}  # SmolLM2-135M: 0.0003


def allowed_divergence(precision: str, cache: str) -> float:
    """How far such weights with such keys and values may be from float32; 0 where neither is rounded to integers."""
    return _WEIGHTS.get(precision, 0.0) + _CACHE.get(cache, 0.0)


@torch.no_grad()
def measure_divergence(
    model: Decoder, engine: Engine, excerpts: Sequence[Excerpt], *, context: int, cache: str = "auto"
) -> Measure:
    """`quantised.kl` over held-out excerpts, beside `model` as it stands. Raises ModelError beyond the bound.

    cache   how the engine keeps keys and values
    """
    precision = engine.runner.precision
    form = precision + cache_title(cache)
    nats: list[float] = []
    counts: list[int] = []
    with track(f"divergence of {form}", total=len(excerpts), unit="excerpts") as bar:
        for excerpt in excerpts:
            tokens = engine.tokenizer.encode(excerpt.text)[:context]
            if tokens:
                exact = model(torch.tensor([tokens], device=model.device))[0]  # (T, V)
                served = torch.from_numpy(engine.logits(tokens)).to(exact.device)
                nats.append(float(kl_divergence(exact, served).sum()))
                counts.append(len(tokens))
            bar.advance()
    result = ratio_interval(nats, counts)
    bound = allowed_divergence(precision, cache)
    if not result.mean <= bound:
        raise ModelError(
            f"in {form} the model is {result.mean:.3g} nats per token from itself in float32, more than {bound}",
            remedy="Serve it with `precision: float32` and `cache_precision: auto`, or with int8 instead of int4.",
        )
    how = f"{form} against float32; {sum(counts):,} tokens of held-out documents"
    return Measure(
        "quantised.kl", result.mean, len(counts), how, result.low, result.high, "95 % bootstrap over excerpts"
    )
