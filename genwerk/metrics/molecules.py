"""Are molecules that were made valid and varied, and like those of a test set? The measures of MOSES.

Source: Polykovskiy et al. (2018), Molecular Sets (MOSES), section 3.

    validity      share that RDKit reads
    uniqueness@k  share of different ones among the first k valid ones
    W(property)   Wasserstein distance between a property of the made and of the test set

See molecule_similarity.py for SNN, IntDiv, Frag and Scaf, molecule_filters.py for filters and properties. All but
validity are of the valid ones, in RDKit's own way of writing.

Chosen:   what is a mean over molecules is given molecule by molecule too, so that intervals can be drawn.
Left out: Fréchet ChemNet distance, which needs a network: see benchmarks/molecules_reference.py.
Try it:   python benchmarks/molecules_reference.py --n 1000 --references 5000
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from genwerk.metrics.chemistry import canonical
from genwerk.metrics.molecule_filters import Properties, passes_filters, properties
from genwerk.metrics.molecule_similarity import (
    Fingerprints,
    cosine,
    fingerprints,
    fragments,
    internal_diversity,
    nearest_similarity,
    scaffolds,
)  # fmt: skip

__all__ = ["MadeMolecules", "Reference", "Resemblance", "describe_made", "prepare_reference", "resemblance",
           "uniqueness"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class MadeMolecules:
    """Of molecules that were made. valid (N,): 1 or 0 of each; passes, diverse, diverse2 (V,) of each valid one, in its
    order in `smiles`, whose means are Filters, IntDiv and IntDiv2."""

    smiles: tuple[str, ...]
    valid: NDArray[np.float64]
    passes: NDArray[np.float64]
    diverse: NDArray[np.float64]
    diverse2: NDArray[np.float64]
    prints: Fingerprints
    fragments: Counter[str]
    scaffolds: Counter[str]
    properties: Properties


@dataclass(frozen=True, slots=True)
class Reference:
    """What is kept of a test set."""

    prints: Fingerprints
    fragments: Counter[str]
    scaffolds: Counter[str]
    properties: Properties


@dataclass(frozen=True, slots=True)
class Resemblance:
    """Of made molecules to a reference. nearest (V,): similarity of each to its nearest, whose mean is SNN; the last
    four are Wasserstein distances, in the unit of the property."""

    nearest: NDArray[np.float64]
    frag: float
    scaf: float
    logp: float
    sa: float
    qed: float
    weight: float


def uniqueness(valid: Sequence[str], k: int) -> float:
    """Of canonical SMILES, all valid. Raises ValueError for fewer than k: of fewer, more would be different."""
    if not 0 < k <= len(valid):
        raise ValueError(f"uniqueness at {k} needs so many valid molecules; there are {len(valid)}")
    return len(set(valid[:k])) / k


def describe_made(smiles: Sequence[str], filters: Sequence[Any]) -> MadeMolecules:
    """All that needs no reference; filters as of `load_filters`.

    Raises ValueError where no molecule is valid, ConfigError without RDKit.
    """
    read = canonical(smiles)
    kept = tuple(text for text in read if text is not None)
    prints = fingerprints(kept)
    return MadeMolecules(
        smiles=kept,
        valid=np.array([float(text is not None) for text in read], np.float64),
        passes=passes_filters(kept, filters),
        diverse=internal_diversity(prints),
        diverse2=internal_diversity(prints, p=2),
        prints=prints,
        fragments=fragments(kept),
        scaffolds=scaffolds(kept),
        properties=properties(kept),
    )


def prepare_reference(smiles: Sequence[str]) -> Reference:
    """Of a test set. Raises ValueError for a molecule that is not valid, ConfigError without RDKit."""
    return Reference(fingerprints(smiles), fragments(smiles), scaffolds(smiles), properties(smiles))


def resemblance(made: MadeMolecules, reference: Reference) -> Resemblance:
    """How like the reference those made are. Raises ValueError where one of them is empty."""
    apart = [
        float(wasserstein_distance(getattr(made.properties, one.name), getattr(reference.properties, one.name)))
        for one in fields(Properties)
    ]
    frag, scaf = cosine(made.fragments, reference.fragments), cosine(made.scaffolds, reference.scaffolds)
    return Resemblance(nearest_similarity(made.prints, reference.prints), frag, scaf, *apart)
