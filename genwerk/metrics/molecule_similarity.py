"""How like each other molecules are: fingerprints and their overlap, and the pieces two sets are made of.

Source: Polykovskiy et al. (2018), Molecular Sets (MOSES), section 3; Rogers and Hahn (2010) for the fingerprints; Degen
et al. (2008), BRICS, for fragments; Bemis and Murcko (1996) for scaffolds.

    T(x, y)   bits of both, divided by bits of either: Tanimoto similarity of Morgan fingerprints, 1024 bits, radius 2
    SNN       mean over made x of max over reference y of T(x, y)
    IntDiv_p  1 - mean over x of (mean over y of T(x, y)^p)^(1/p), both of the same set, each with itself too
    Frag      cosine between counts of BRICS fragments; Scaf: of Murcko scaffolds with two rings or more

Chosen:   overlaps are products of matrices in float32, in pieces; sums to 1024 are exact in it. For p = 2 the root is
          taken molecule by molecule, as in the code of MOSES.
Left out: other fingerprints.
Try it:   pytest tests/metrics/test_molecules.py
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from genwerk.metrics.chemistry import valid

__all__ = [
    "Fingerprints", "cosine", "fingerprints", "fragments", "internal_diversity", "nearest_similarity", "scaffolds",
]  # fmt: skip

Fingerprints = NDArray[np.uint8]  # (N, 128), eight bits a number
_BITS = 1024
_ROWS, _COLUMNS = 512, 4096  # of similarities at once


def fingerprints(smiles: Sequence[str]) -> Fingerprints:
    """(N, 128) of N valid molecules, packed. Raises ValueError for one that is not, ConfigError without RDKit."""
    found = np.zeros((len(smiles), _BITS // 8), np.uint8)
    maker = None
    for row, molecule in enumerate(valid(smiles)):
        if maker is None:
            from rdkit.Chem import rdFingerprintGenerator

            maker = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=_BITS)
        found[row] = np.packbits(maker.GetFingerprintAsNumPy(molecule))
    return found


def nearest_similarity(made: Fingerprints, reference: Fingerprints) -> NDArray[np.float64]:
    """(N,): similarity of each to the nearest of the reference; SNN is the mean. Raises ValueError for an empty set."""
    found = np.zeros(len(made), np.float32)
    for rows, similarity in _similarities(made, reference):
        np.maximum(found[rows], similarity.max(1), out=found[rows])
    return found.astype(np.float64)


def internal_diversity(made: Fingerprints, *, p: int = 1) -> NDArray[np.float64]:
    """(N,): what IntDiv is the mean of. Raises ValueError for no molecules."""
    total = np.zeros(len(made), np.float64)
    for rows, similarity in _similarities(made, made):
        total[rows] += (similarity if p == 1 else similarity**p).sum(1, dtype=np.float64)
    found: NDArray[np.float64] = 1 - (total / len(made)) ** (1 / p)
    return found


def _similarities(x: Fingerprints, y: Fingerprints) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """T of rows of x to some of y, piece by piece; two without any bit are alike."""
    if not len(x) or not len(y):
        raise ValueError("similarities need molecules in both sets")
    for start in range(0, len(y), _COLUMNS):
        other = np.unpackbits(y[start : start + _COLUMNS], axis=1).astype(np.float32)
        theirs = other.sum(1)
        for first in range(0, len(x), _ROWS):
            rows = slice(first, first + _ROWS)
            one = np.unpackbits(x[rows], axis=1).astype(np.float32)
            both = one @ other.T  # (R, C)
            either = one.sum(1)[:, None] + theirs
            either -= both
            empty = either == 0
            yield rows, np.where(empty, np.float32(1), both / np.maximum(either, 1))


def fragments(smiles: Sequence[str]) -> Counter[str]:
    """How often each BRICS fragment occurs. Raises as `fingerprints`."""
    found: Counter[str] = Counter()
    for molecule in valid(smiles):
        from rdkit import Chem

        found.update(Chem.MolToSmiles(Chem.FragmentOnBRICSBonds(molecule)).split("."))
    return found


def scaffolds(smiles: Sequence[str], *, least_rings: int = 2) -> Counter[str]:
    """How often each Murcko scaffold occurs; those of fewer rings are left out. Raises as `fingerprints`."""
    found: Counter[str] = Counter()
    for molecule in valid(smiles):
        from rdkit import Chem
        from rdkit.Chem.Scaffolds import MurckoScaffold

        scaffold = MurckoScaffold.GetScaffoldForMol(molecule)
        if scaffold.GetRingInfo().NumRings() >= least_rings:
            found[Chem.MolToSmiles(scaffold)] += 1
    return found


def cosine(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Between two counts, from 0 to 1; not a number where one of them is empty."""
    if not one or not other:
        return math.nan
    product = sum(count * other.get(name, 0) for name, count in one.items())
    return product / math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
