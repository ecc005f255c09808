"""What rounding costs: the network in float32 beside its rounded forms, on text that was not calibrated on.

    KL           mean over tokens of the divergence of the next token's distribution from that in float32, nats
    perplexity   exp of the mean nats per token          bits per byte   nats over the bytes those tokens spell

A form beyond its bounds is refused: it would answer noticeably worse, and nobody would know why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy

from genwerk.core.errors import ModelError
from genwerk.core.progress import track
from genwerk.inference.quantisation.config import Bounds
from genwerk.metrics.divergence import kl_divergence
from genwerk.metrics.language import bits_per_byte, perplexity
from genwerk.metrics.ratio import ratio_interval
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["Loss", "check_bounds", "measure_losses", "print_losses"]

Logits = Callable[[Sequence[int]], Tensor]  # tokens -> (T, V) float32


@dataclass(frozen=True, slots=True)
class Loss:
    """One form over all windows: KL with its 95 % interval and its extremes, perplexity, bits per byte."""

    form: str
    kl: float
    kl_low: float
    kl_high: float
    kl_least: float
    kl_most: float
    perplexity: float
    bits_per_byte: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def measure_losses(
    exact: Logits, forms: Mapping[str, Logits], windows: Sequence[Sequence[int]], tokenizer: Tokenizer
) -> list[Loss]:
    """The network in float32, then each form, on the same windows."""
    names = ["float32", *forms]
    divergence: dict[str, list[float]] = {name: [] for name in names}
    nats: dict[str, float] = dict.fromkeys(names, 0.0)
    with track("what rounding costs", total=len(windows), unit="windows") as bar:
        for window in windows:
            true = exact(window)
            targets = torch.tensor(window[1:])
            for name in names:
                found = true if name == "float32" else forms[name](window)
                divergence[name].append(float(kl_divergence(true, found).double().sum()))
                nats[name] += float(cross_entropy(found[:-1], targets, reduction="sum").double())
            bar.advance()
    predicted = sum(len(window) - 1 for window in windows)
    spelt = sum(_bytes(tokenizer, window[1:]) for window in windows)
    counts = [len(window) for window in windows]
    return [_loss(name, divergence[name], counts, nats[name], predicted, spelt) for name in names]


def _loss(name: str, sums: Sequence[float], counts: Sequence[int], nats: float, predicted: int, spelt: int) -> Loss:
    if not all(map(math.isfinite, [*sums, nats])):
        raise ModelError(f"{name} gives logits that are not numbers", remedy="Weights of the model are not numbers.")
    kl = ratio_interval(sums, counts)
    each = [total / count for total, count in zip(sums, counts, strict=True)]
    bits = bits_per_byte(nats, spelt)
    return Loss(name, kl.mean, kl.low, kl.high, min(each), max(each), perplexity(nats, predicted), bits)


def _bytes(tokenizer: Tokenizer, tokens: Sequence[int]) -> int:
    control = tokenizer.special_ids | tokenizer.eos_ids
    return sum(len(tokenizer.token_bytes(token)) for token in tokens if token not in control)


def check_bounds(exact: Loss, before: Loss, after: Loss, bounds: Bounds) -> None:
    """Raise ModelError where the calibrated form `after` is beyond `bounds`; says what plain rounding would lose."""
    rise = after.perplexity / exact.perplexity - 1
    if after.kl <= bounds.kl and rise <= bounds.rise:
        return
    raise ModelError(
        f"{after.form} is {after.kl:.3g} nats per token from float32 and its perplexity {rise:+.1%}, where at most "
        f"{bounds.kl:.3g} and {bounds.rise:+.1%} are allowed; {before.form} has {before.kl:.3g} and "
        f"{before.perplexity / exact.perplexity - 1:+.1%}",
        remedy="Give more calibration text (`windows`), use int8 instead of int4, or raise `most_kl` and `most_rise`.",
    )


def print_losses(losses: Sequence[Loss], title: str) -> None:
    """A table on stderr."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("form", "KL", "over windows", "perplexity", "bits/byte"):
        table.add_column(heading, justify="left" if heading == "form" else "right")
    for item in losses:
        change = f" ({item.perplexity / losses[0].perplexity - 1:+.2%})" if item is not losses[0] else ""
        spread = f"{item.kl_least:.4f} to {item.kl_most:.4f}"
        row = (f"{item.kl:.4f}", spread, f"{item.perplexity:.3f}{change}", f"{item.bits_per_byte:.4f}")
        table.add_row(item.form, *row)
    Console(stderr=True).print(table)
