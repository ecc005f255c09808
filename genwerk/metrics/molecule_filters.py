"""Which molecules a chemist would keep: the filters of MOSES, and four properties.

Source: Polykovskiy et al. (2018), Molecular Sets (MOSES), appendix; Baell and Holloway (2010) for PAINS, groups that
disturb assays; Ertl and Schuffenhauer (2009) for the score of synthesis, Bickerton et al. (2012) for QED.

A molecule passes that has no ring of eight atoms or more, no charge, no atom but C, N, S, O, F, Cl, Br, H, and none of
the groups of two lists: medicinal chemistry filters (MCF) and PAINS. Both are files of MOSES with SMARTS, see KNOWN.

Left out: the natural-product score.
Try it:   pytest tests/metrics/test_molecules.py
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genwerk.core.assets import fetch
from genwerk.core.errors import DataError
from genwerk.metrics.chemistry import each, quiet, require_rdkit

__all__ = ["Properties", "load_filters", "passes_filters", "properties"]

_ATOMS = frozenset(("C", "N", "S", "O", "F", "Cl", "Br", "H"))
_RING = 8


@dataclass(frozen=True, slots=True)
class Properties:
    """Of each molecule (N,): octanol-water partition, ease of synthesis from 1 to 10, drug-likeness, weight in Da."""

    logp: NDArray[np.float64]
    sa: NDArray[np.float64]
    qed: NDArray[np.float64]
    weight: NDArray[np.float64]


def load_filters(mcf: Path | None = None, pains: Path | None = None) -> list[Any]:
    """The groups no molecule may have, of MOSES' two files; those in KNOWN where none are given.

    Raises DataError for a pattern that is not SMARTS, or no column of them, AssetError where a file cannot be fetched,
    ConfigError without RDKit.
    """
    require_rdkit()
    from rdkit import Chem

    with (mcf or fetch("moses-mcf")).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if "smarts" not in (rows.fieldnames or ()):
            raise DataError("there is no column smarts", where=file.name, remedy="Give the files as MOSES has them.")
        smarts = [row["smarts"] for row in rows]
    with (pains or fetch("moses-pains")).open(encoding="utf-8", newline="") as file:
        smarts += [row[0] for row in csv.reader(file) if row]
    with quiet():
        found = [Chem.MolFromSmarts(text.strip()) for text in smarts]
    if None in found:
        raise DataError(f"`{smarts[found.index(None)]}` is not SMARTS", remedy="Give the files as MOSES has them.")
    return found


def passes_filters(smiles: Sequence[str], filters: Sequence[Any]) -> NDArray[np.float64]:
    """(N,): 1 where a molecule passes. Raises ValueError for one that is not valid, ConfigError without RDKit."""
    return each(smiles, lambda molecule: float(_passes(molecule, filters)))


def _passes(molecule: Any, filters: Sequence[Any]) -> bool:
    from rdkit import Chem

    if any(len(ring) >= _RING for ring in molecule.GetRingInfo().AtomRings()):
        return False
    if any(atom.GetFormalCharge() or atom.GetSymbol() not in _ATOMS for atom in molecule.GetAtoms()):
        return False
    with_hydrogen = Chem.AddHs(molecule)
    return not any(with_hydrogen.HasSubstructMatch(group) for group in filters)


def properties(smiles: Sequence[str]) -> Properties:
    """Of valid molecules. Raises ValueError for one that is not, ConfigError without RDKit."""
    require_rdkit()
    from rdkit.Chem import QED, Crippen, Descriptors
    from rdkit.Contrib.SA_Score import sascorer

    measures = (Crippen.MolLogP, sascorer.calculateScore, QED.qed, Descriptors.MolWt)
    return Properties(*(each(smiles, measure) for measure in measures))
