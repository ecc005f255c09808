"""Molecules that were drawn, by the measures of MOSES; floors are molecules that were learned from, in their place.

    validity, uniqueness        of all samples, and validity of those drawn by the rule (generators/smiles_rule.py)
    what describes molecules    of the first 3,000 valid ones, against as many held-out ones as samples, 3,000 at most

    molecules.png    the first valid samples, drawn

Source: Polykovskiy et al. (2018), Molecular Sets (MOSES), section 3; see metrics/molecules.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genwerk.core.atomic import write_bytes
from genwerk.core.errors import DataError
from genwerk.core.workspace import Step
from genwerk.data.molecules import split_smiles
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.scored import Exhibit
from genwerk.evaluation.sequences import Drawn, Sides, measure
from genwerk.metrics.bootstrap import interval
from genwerk.metrics.chemistry import canonical
from genwerk.metrics.molecule_filters import load_filters
from genwerk.metrics.molecules import describe_made, prepare_reference, resemblance, uniqueness

__all__ = ["draw_molecules", "measure_craft"]

_DESCRIBED = 3000
_UNIQUE_AMONG = (1000, 10_000)
_DRAWN = 24
_LIMITS = [
    "Valid means that RDKit reads it; whether it can be made in a laboratory, or does anything, is not asked.",
    "Likeness is to held-out molecules of the same collection; a number of another test set is another number.",
]


def measure_craft(sides: Sides, step: Step) -> tuple[list[Measure], list[Exhibit], list[str]]:
    """Of samples that are SMILES; draws the first valid ones. Raises ConfigError without RDKit."""
    read = _canonical(sides.made)
    valid = [text for text in read if text]
    measures = [_validity("molecules.valid", read), *([_by_rule(sides.ruled)] if sides.ruled else [])]
    for k in _UNIQUE_AMONG:
        if len(valid) >= k:
            name = f"molecules.unique_{k // 1000}k"
            measures.append(Measure.share(name, round(k * uniqueness(valid, k)), k, f"of the first {k:,} valid ones"))
    measures.append(_novelty(valid, sides))
    if len(valid) >= 2:
        measures += _likeness(valid, sides)
    draw_molecules(valid[:_DRAWN], step.out / "molecules.png")
    exhibits = [Exhibit("molecules.png", "Drawn, not chosen: the first valid samples of the seed.")] if valid else []
    return measures, exhibits, _LIMITS


def _canonical(drawn: Drawn) -> list[str | None]:
    return canonical(["".join(words) for words in drawn.words])


def _validity(name: str, read: Sequence[str | None], how: str = "read by RDKit") -> Measure:
    return Measure.share(name, sum(bool(text) for text in read), len(read), how)


def _by_rule(ruled: Drawn) -> Measure:
    how = f"drawn by the rule, {ruled.milliseconds:.1f} ms each; read by RDKit"
    return _validity("molecules.valid_by_rule", _canonical(ruled), how)


def _novelty(valid: Sequence[str], sides: Sides) -> Measure:
    """Learned ones are compared as they are written: how many of them RDKit writes so is said beside it."""
    some = ["".join(sides.learned.words(int(row))) for row in np.linspace(0, len(sides.learned) - 1, 1000)]
    alike = sum(one == text for one, text in zip(some, canonical(some), strict=True)) / len(some)
    different = set(valid)
    new = sum(not _learned(text, sides) for text in different)
    learned = f"{len(sides.learned):,} learned, of which RDKit writes {alike:.1%} as they are"
    how = f"different valid ones, not among {learned}"
    return Measure.share("molecules.novel", new, len(different), how)


def _learned(text: str, sides: Sides) -> bool:
    """What RDKit writes in signs that no file of SMILES may have was not learned."""
    try:
        return split_smiles(text) in sides.learned
    except DataError:
        return False


def _likeness(valid: Sequence[str], sides: Sides) -> Iterator[Measure]:
    filters = load_filters()
    held_out = ["".join(words) for words in sides.real[:_DESCRIBED]]
    reference = prepare_reference([text for text in canonical(held_out) if text is not None])
    rows = np.random.default_rng(0).permutation(len(sides.learned))[: len(valid[:_DESCRIBED])]
    made = describe_made(valid[:_DESCRIBED], filters)
    best = describe_made(["".join(sides.learned.words(int(row))) for row in rows], filters)
    how = f"{len(made.smiles):,} valid samples, {len(reference.prints):,} held-out molecules"
    for name, key in (("filters", "passes"), ("internal_diversity", "diverse"), ("internal_diversity_2", "diverse2")):
        own, floor = getattr(made, key), getattr(best, key)
        yield measure(f"molecules.{name}", interval(own.tolist()), how, float(floor.mean()))
    like, floor_like = resemblance(made, reference), resemblance(best, reference)
    yield measure("molecules.nearest", interval(like.nearest.tolist()), how, float(floor_like.nearest.mean()))
    for name in ("frag", "scaf", "logp", "sa", "qed", "weight"):
        value, floor = getattr(like, name), getattr(floor_like, name)
        yield Measure(f"molecules.{name}", value, len(made.smiles), how, floor=floor)


def draw_molecules(smiles: Sequence[str], path: Path, *, columns: int = 6) -> None:
    """A grid of structures as a PNG file. Raises ConfigError without RDKit."""
    if not smiles:
        return
    from rdkit import Chem
    from rdkit.Chem import Draw

    molecules = [Chem.MolFromSmiles(text) for text in smiles]
    options: Any = Draw.rdMolDraw2D.MolDrawOptions()
    options.bondLineWidth, options.padding = 1.6, 0.08
    data = Draw.MolsToGridImage(molecules, molsPerRow=columns, subImgSize=(230, 170), drawOptions=options,
                                returnPNG=True)  # fmt: skip
    write_bytes(path, data if isinstance(data, bytes) else data.data)
