"""RDKit, loaded when it is first needed, and molecules read with it. It comes with the extra `chem`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genwerk.core.errors import ConfigError

__all__ = ["canonical", "each", "molecules", "quiet", "require_rdkit", "valid"]


def require_rdkit() -> None:
    """Raises ConfigError where RDKit cannot be imported."""
    try:
        import rdkit  # noqa: F401
    except ImportError as error:
        remedy = "Install it with `pip install 'genwerk[chem]'`."
        raise ConfigError(f"molecules need RDKit, which cannot be imported: {error}", remedy=remedy) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without RDKit's remarks on what it cannot read."""
    require_rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        yield


def molecules(smiles: Iterable[str]) -> Iterator[Any]:
    """RDKit's molecule of each; None for what is not valid, or empty. Raises ConfigError without RDKit."""
    with quiet():
        from rdkit import Chem

        for text in smiles:
            yield Chem.MolFromSmiles(text) if text else None


def canonical(smiles: Iterable[str]) -> list[str | None]:
    """RDKit's own way of writing each; None for what is not valid. Raises ConfigError without RDKit."""
    require_rdkit()
    from rdkit import Chem

    return [None if molecule is None else Chem.MolToSmiles(molecule) for molecule in molecules(smiles)]


def each(smiles: Sequence[str], measure: Callable[[Any], float]) -> NDArray[np.float64]:
    """What `measure` says of each. Raises ValueError for one that is not valid, ConfigError without RDKit."""
    return np.array([measure(molecule) for molecule in valid(smiles)], np.float64)


def valid(smiles: Sequence[str]) -> Iterator[Any]:
    """RDKit's molecule of each. Raises ValueError for one that is not valid, ConfigError without RDKit."""
    for text, molecule in zip(smiles, molecules(smiles), strict=True):
        if molecule is None:
            raise ValueError(f"`{text}` is not a valid molecule: leave out what is not before it is measured")
        yield molecule
