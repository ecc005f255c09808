"""How far the network that is served is from the one that was trained, where its weights are rounded to integers.

    KL = mean over tokens of  sum_v p(v) [log p(v) - log q(v)]

p, q  distribution of the next token in float32 and as it is served, on held-out text; nats per token.

A model that is further away than rounding can explain is refused: something is wrong with its weights, or they are of a
kind that does not bear rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from genwerk.core.errors import ModelError
from genwerk.core.progress import track
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.perplexity import Excerpt
from genwerk.inference.engine import Engine
from genwerk.metrics.divergence import kl_divergence
from genwerk.metrics.ratio import ratio_interval
from genwerk.models.decoder import Decoder

__all__ = ["BOUNDS", "measure_divergence"]

BOUNDS = {"int8": 0.03, "int4": 0.15}  # nats per token; SmolLM2-135M measures about 0.005 and 0.003


@torch.no_grad()
def measure_divergence(model: Decoder, engine: Engine, excerpts: Sequence[Excerpt], *, context: int) -> Measure:
    """`quantised.kl` over held-out excerpts, beside `model` as it stands. Raises ModelError beyond the bound."""
    precision = engine.runner.precision
    nats: list[float] = []
    counts: list[int] = []
    with track(f"divergence of {precision}", total=len(excerpts), unit="excerpts") as bar:
        for excerpt in excerpts:
            tokens = engine.tokenizer.encode(excerpt.text)[:context]
            if tokens:
                exact = model(torch.tensor([tokens], device=model.device))[0]  # (T, V)
                served = torch.from_numpy(engine.logits(tokens)).to(exact.device)
                nats.append(float(kl_divergence(exact, served).sum()))
                counts.append(len(tokens))
            bar.advance()
    result = ratio_interval(nats, counts)
    bound = BOUNDS[precision]
    if not result.mean <= bound:
        raise ModelError(
            f"in {precision} the model is {result.mean:.3g} nats per token from itself in float32, more than {bound}",
            remedy="Serve it with `precision: float32`, or with int8 instead of int4.",
        )
    how = f"{precision} against float32; {sum(counts):,} tokens of held-out documents"
    return Measure(
        "quantised.kl", result.mean, len(counts), how, result.low, result.high, "95 % bootstrap over excerpts"
    )
