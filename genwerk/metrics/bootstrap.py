"""Percentile bootstrap: how far a mean could have come out otherwise with other samples of the same kind.

Source: Efron (1979), Bootstrap methods: another look at the jackknife.

    draw n values with replacement, take the mean; repeat; low and high are the quantiles (1 ± confidence) / 2

Chosen:   the same seed gives the same interval; two systems on the same questions are compared by the interval of
          their differences, question by question, which is narrower than two intervals side by side.
Left out: bias-corrected and accelerated intervals; values grouped by document.
Try it:   python -c "from genwerk.metrics.bootstrap import interval; print(interval([0, 1, 1, 1]))"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Interval", "interval", "paired_difference"]

_BLOCK_ELEMENTS = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it could have been: low <= high in the unit of the values, over n values."""

    mean: float
    low: float
    high: float
    n: int
    confidence: float = 0.95

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above 0: the values are positive beyond chance."""
        return self.low > 0.0

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def interval(values: Sequence[float], *, confidence: float = 0.95, seed: int = 0, n: int = 2000) -> Interval:
    """Mean of `values` with its bootstrap interval from `n` resamples.

    Raises ValueError for no values, values that are not finite, or a confidence outside (0, 1).
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise ValueError("an interval needs a flat list of at least one value")
    if not np.isfinite(data).all():
        raise ValueError("an interval needs finite values")
    if not 0.0 < confidence < 1.0 or n < 1:
        raise ValueError(f"confidence must lie in (0, 1) and n be positive, got {confidence} and {n}")
    means = _resampled_means(data, n, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(data.mean()), float(low), float(high), int(data.size), confidence)


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], *, confidence: float = 0.95, seed: int = 0, n: int = 2000
) -> Interval:
    """Interval of the mean of ours - theirs, pair by pair. Raises ValueError when the lengths differ."""
    if len(ours) != len(theirs):
        raise ValueError(f"pairs need lists of one length, got {len(ours)} and {len(theirs)}")
    return interval([a - b for a, b in zip(ours, theirs, strict=True)], confidence=confidence, seed=seed, n=n)


def _resampled_means(data: np.ndarray, n: int, generator: np.random.Generator) -> np.ndarray:
    rows = max(1, _BLOCK_ELEMENTS // data.size)
    blocks = []
    for start in range(0, n, rows):
        picks = generator.integers(0, data.size, size=(min(rows, n - start), data.size))  # (R, N)
        blocks.append(data[picks].mean(axis=1))
    return np.concatenate(blocks)
