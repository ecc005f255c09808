"""The measures of molecules: against the code of MOSES, on paper, and without RDKit."""

from __future__ import annotations

import builtins
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moses_code import load_moses

from genwerk.core.errors import ConfigError, DataError
from genwerk.metrics import molecule_similarity
from genwerk.metrics.chemistry import canonical
from genwerk.metrics.molecule_filters import load_filters, passes_filters, properties
from genwerk.metrics.molecule_similarity import (
    cosine,
    fingerprints,
    fragments,
    internal_diversity,
    nearest_similarity,
    scaffolds,
)  # fmt: skip
from genwerk.metrics.molecules import (
    describe_made,
    prepare_reference,
    resemblance,
    uniqueness,
)  # fmt: skip

pytest.importorskip("rdkit")

TEST = ["Oc1ccccc1-c1cccc2cnccc12", "COc1cccc(NC(=O)Cc2coc3ccc(OC)cc23)c1", "O=C(C1CC2C=CC1C2)N1CCOc2ccccc21"]
MADE = [
    "CNC", "Oc1ccccc1-c1cccc2cnccc12", "CCCP", "Cc1noc(C)c1CN(C)C(=O)Nc1cc(F)cc(F)c1",
    "C1CCCCCCC1", "C[N+](C)(C)C", "O=C1C=CC(=O)C=C1", "COCc1nnc(NC(=O)COc2ccc(C(C)(C)C)cc2)s1", "CNC",
]  # fmt: skip


@pytest.fixture
def moses(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    return load_moses(monkeypatch)


def test_similarity_is_that_of_moses(moses: tuple[Any, Any]) -> None:
    utils, _ = moses
    theirs = [utils.fingerprints(np.array(one), fp_type="morgan") for one in (MADE, TEST)]
    ours = [fingerprints(one) for one in (MADE, TEST)]
    for mine, other in zip(ours, theirs, strict=True):
        assert np.array_equal(np.unpackbits(mine, axis=1), other)
    assert nearest_similarity(*ours).mean() == pytest.approx(utils.average_agg_tanimoto(theirs[1], theirs[0]))
    for p in (1, 2):
        mean = utils.average_agg_tanimoto(theirs[0], theirs[0], agg="mean", p=p)
        assert internal_diversity(ours[0], p=p).mean() == pytest.approx(1 - mean)


def test_pieces_and_their_cosine_are_those_of_moses(moses: tuple[Any, Any]) -> None:
    utils, metrics = moses
    for mine, theirs in ((fragments, utils.compute_fragments), (scaffolds, utils.compute_scaffolds)):
        one, other = mine(MADE), mine(TEST)
        assert one == theirs(MADE) and other == theirs(TEST)
        assert cosine(one, other) == pytest.approx(metrics.cos_similarity(other, one))


def test_filters_and_properties_are_those_of_moses(moses: tuple[Any, Any]) -> None:
    utils, _ = moses
    found = passes_filters(MADE, load_filters())
    assert found.tolist() == [float(utils.mol_passes_filters(one)) for one in MADE]
    assert 0 < found.mean() < 1
    ours, read = properties(MADE), [utils.get_mol(one) for one in MADE]
    for name, theirs in {"logp": utils.logP, "sa": utils.SA, "qed": utils.QED, "weight": utils.weight}.items():
        assert getattr(ours, name).tolist() == [theirs(one) for one in read]


def test_the_whole_is_what_moses_tests_itself_with() -> None:
    """The numbers of its own test, but for FCD, and for SA: RDKit counts other fragments now than it did in 2020."""
    test = ["Oc1ccccc1-c1cccc2cnccc12", "COc1cccc(NC(=O)Cc2coc3ccc(OC)cc23)c1"]
    made = describe_made(
        ["CNC", "Oc1ccccc1-c1cccc2cnccc12", "INVALID", "CCCP", "Cc1noc(C)c1CN(C)C(=O)Nc1cc(F)cc(F)c1",
         "Cc1nc(NCc2ccccc2)no1-c1ccccc1"], load_filters(),
    )  # fmt: skip
    found = resemblance(made, prepare_reference(test))
    assert len(made.smiles) == 4 and made.valid.mean() == pytest.approx(4 / 6) and made.passes.mean() == 0.75
    assert uniqueness(made.smiles, 3) == 1.0
    assert found.nearest.mean() == pytest.approx(0.3152585653588176)
    assert (found.frag, found.scaf) == (pytest.approx(0.3), pytest.approx(0.5))
    assert made.diverse.mean() == pytest.approx(0.7189187309761661)
    assert (found.logp, found.weight) == (pytest.approx(1.63229, rel=1e-3), pytest.approx(106.87, rel=1e-3))
    assert found.qed == pytest.approx(0.2037089185)


def test_pieces_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = fingerprints(MADE)
    whole = nearest_similarity(prints, prints[:4]), internal_diversity(prints, p=2)
    monkeypatch.setattr(molecule_similarity, "_ROWS", 3)
    monkeypatch.setattr(molecule_similarity, "_COLUMNS", 2)
    assert np.array_equal(nearest_similarity(prints, prints[:4]), whole[0])
    assert internal_diversity(prints, p=2) == pytest.approx(whole[1])


def test_a_set_is_most_like_itself() -> None:
    prints = fingerprints(MADE)
    assert nearest_similarity(prints, prints).tolist() == [1.0] * len(MADE)
    assert internal_diversity(np.repeat(prints[1:2], 5, 0)) == pytest.approx(0)
    assert cosine({"a": 2, "b": 1}, {"a": 4, "b": 2}) == pytest.approx(1) and cosine({"a": 1}, {"b": 1}) == 0
    assert math.isnan(cosine({}, {"b": 1}))


def test_counts_of_what_is_valid_and_different() -> None:
    assert canonical(["CCO", "C(", "", "c1ccc1C="]) == ["CCO", None, None, None]
    assert canonical(["OCC", "C("]) == ["CCO", None]
    assert uniqueness(["a", "b", "a", "c"], 3) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="at 5 needs so many"):
        uniqueness(["a"], 5)


def test_what_is_not_valid_is_not_measured() -> None:
    with pytest.raises(ValueError, match=r"`C\(` is not a valid molecule"):
        fingerprints(["CCO", "C("])
    with pytest.raises(ValueError, match="both sets"):
        nearest_similarity(fingerprints(["CCO"]), fingerprints([]))


def test_a_list_that_is_no_list_of_groups_is_named(tmp_path: Any) -> None:
    path = tmp_path / "mcf.csv"
    path.write_text("names,smarts\nMCF1,[#6]=(\n")
    with pytest.raises(DataError, match=r"`\[#6\]=\(` is not SMARTS"):
        load_filters(path)


def test_without_rdkit_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "rdkit":
            raise ImportError("No module named 'rdkit'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for measure in (lambda: canonical(["C"]), lambda: properties(["C"]), lambda: fragments(["C"]), load_filters):
        with pytest.raises(ConfigError, match=r"genwerk\[chem\]"):
            measure()


def test_files_of_groups_without_their_column_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    for name in ("mcf.csv", "pains.csv"):
        (tmp_path / name).write_text("name,pattern\nx,CC\n")
    with pytest.raises(DataError, match="no column smarts"):
        load_filters(tmp_path / "mcf.csv", tmp_path / "pains.csv")
