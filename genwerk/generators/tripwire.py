"""A tripwire for mode collapse: now and then some samples are made and held against real pictures.

    coverage     share of real pictures near which a sample lies (prdc.py), on the first components of the pixels
    classes      share of the classes of real pictures that samples lie nearest to
    duplicates   share of samples whose nearest other sample is nearer than any two of 999 in 1,000 real ones are

It fires where samples are not finite; and after two looks, in which nothing is expected yet, where coverage is less
than half of the best before (if that was a tenth or more), fewer than half of the classes are left, more than a tenth
are duplicates, or nothing is covered. What is looked at is made from the same noise each time.

Source: Naeem et al. (2020) for coverage; Arora, Risteski and Zhang (2018), Do GANs learn the distribution?, for
duplicates (the birthday paradox).

Chosen:   principal components, because they cost nothing and know no classes; reports use features that were learned.
Try it:   pytest tests/generators/test_tripwire.py
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from genwerk.metrics.prdc import prdc

__all__ = ["Look", "Tripwire", "nearest_other"]

_COMPONENTS = 32
_NEIGHBOURS = 5
_WORTH = 0.1  # coverage below which there is nothing to lose yet


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen; each from 0 to 1. why: empty where all is well."""

    coverage: float
    classes: float
    duplicates: float
    why: str = ""

    def measures(self) -> dict[str, float]:
        """For the curve."""
        return {name: round(value, 4) for name, value in asdict(self).items() if name != "why"}


class Tripwire:
    """Holds real pictures (N, …) and their classes (N,), -1 for none; `look` at as many samples."""

    def __init__(self, real: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        flat = real.reshape(len(real), -1).astype(np.float64)
        self._middle = flat.mean(0)
        _, _, axes = np.linalg.svd(flat - self._middle, full_matrices=False)
        self._axes = axes[: min(_COMPONENTS, len(flat) - 1)].T
        self._real, self._labels = self._seen(flat), labels
        self._classes = len(np.unique(labels))
        self._close = float(np.quantile(nearest_other(self._real), 0.001))
        self.looks, self.best = 0, Look(0.0, 0.0, 0.0)

    def look(self, made: NDArray[np.floating]) -> Look:
        """What samples (M, …) are like; remembers the best. Samples that are not finite fire it, too."""
        self.looks += 1
        flat = made.reshape(len(made), -1).astype(np.float64)
        if not np.isfinite(flat).all():
            return Look(0.0, 0.0, 1.0, "samples are not finite")
        seen = self._seen(flat)
        nearest = cdist(seen, self._real).argmin(1)
        found = Look(
            prdc(self._real, seen, k=min(_NEIGHBOURS, len(seen) - 1, len(self._real) - 1)).coverage,
            len(np.unique(self._labels[nearest])) / self._classes,
            float((nearest_other(seen) <= self._close).mean()),
        )
        why = self._why(found)
        if not why and found.coverage >= self.best.coverage:
            self.best = found
        return Look(found.coverage, found.classes, found.duplicates, why)

    def _why(self, found: Look) -> str:
        if self.looks < 3:
            return ""
        if found.coverage < 0.5 * self.best.coverage and self.best.coverage >= _WORTH:
            return f"coverage fell from {self.best.coverage:.2f} to {found.coverage:.2f}"
        if found.duplicates > 0.1:
            return f"{found.duplicates:.0%} of the samples are duplicates of others"
        if found.classes < 0.5 * self.best.classes:
            return f"{found.classes:.0%} of the classes are left, of {self.best.classes:.0%}"
        return "samples cover nothing" if found.coverage == 0.0 else ""

    def _seen(self, flat: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((flat - self._middle) @ self._axes)

    def state_dict(self) -> dict[str, object]:
        return {"looks": self.looks, "best": asdict(self.best)}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        best = state_dict["best"]
        assert isinstance(best, dict)
        self.looks, self.best = int(str(state_dict["looks"])), Look(**best)


def nearest_other(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) the distance of each of (N, D) to the nearest other one."""
    apart = cdist(x, x)
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart.min(1))
