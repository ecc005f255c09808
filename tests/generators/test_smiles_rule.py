"""Constrained molecules: whatever is drawn is valid, and what is valid may be drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from genwerk.core.assets import fetch
from genwerk.core.errors import DataError
from genwerk.data.ledger import Ledger
from genwerk.data.molecules import read_molecules, split_smiles
from genwerk.generators.smiles_outlook import least_left, most_left
from genwerk.generators.smiles_rule import SmilesRule
from genwerk.generators.smiles_tokens import Atom, Bond, Mark, Ring, read_token

SPECIAL = ("<pad>", "<begin>", "<end>")
PLAIN = (*SPECIAL, *split_smiles("C()1O2N=F-S#3Br[H]"))
MOSES = (*SPECIAL, *split_smiles("cC()1O2N=n[nH]3F-SsoCl#4Br56[H]"))
CHARGED = (*MOSES, *split_smiles("[n+][nH+][O-][N+][C@@H][NH3+]/\\.%10p[se]PI[o+][n-][c-]B[Na+][13c]"))
LINES = """
    CC(=O)Oc1ccccc1C(=O)O Cn1c(=O)c2c(ncn2C)n(C)c1=O c1ccc2c(c1)[nH]c1ccccc12 O=C1c2ccccc2C(=O)c2ccccc21 C1CC12CC2
    c1ccc2cccc-2cc1 c1ccn2cccc2c1 O=c1[nH]c(=O)c2[nH]cnc2[nH]1 CC(C)(C)c1ccc(-c2nc3ccccc3o2)cc1 N#Cc1cc2c(n(C)c1=O)CCNC2
    O=C1Nc2ccccc2C1=c1sc2n(c1=O)CCN=2 Cc1cc(C)c2c(c1)OCCc1sc(CC#N)nc1-2 [H]N=c1sc(C)nn1CC(=O)c1cccc(Br)c1 O=C=O C
    C[N+](C)(C)C O=[N+]([O-])c1ccccc1 C[n+]1ccccc1 [Na+].[Cl-] C[C@H](N)C(=O)[O-] C/C=C/C=C\\C c1cc[se]c1 C[S+](C)C
    C12C3C4C1C5C2C3C45 Cn1ccc(=O)cc1 CS(=O)(=O)c1ccccc1 CP(=O)(O)O OB(O)c1ccccc1 c1cc[o+]cc1 c1nn[n-]n1 C%10CCCCC%10
"""
KNOWN = LINES.split()


def draw(rule: SmilesRule, vocabulary: Sequence[str], count: int, left: int, seed: int) -> list[str]:
    """Uniformly over what is allowed; the end and ring digits less often, so that molecules grow."""
    chance, weights = np.random.default_rng(seed), np.ones(len(vocabulary))
    weights[[token == "<end>" or token.isdigit() for token in vocabulary]] = 0.2
    texts = [""] * count
    rule.begin(count)
    for more in range(left, 0, -1):
        likely = rule.allowed(more) * weights
        likely /= likely.sum(1, keepdims=True)
        tokens = (likely.cumsum(1) > chance.random((count, 1))).argmax(1)
        rule.take(tokens)
        texts = [text + (vocabulary[token] if token > 2 else "") for text, token in zip(texts, tokens, strict=True)]
    assert (rule.allowed(1).argmax(1) == 0).all() and (rule.allowed(1).sum(1) == 1).all(), "one has not ended"
    return texts


def refusals(rule: SmilesRule, vocabulary: Sequence[str], molecules: Sequence[tuple[str, ...]], left: int) -> list[str]:
    """What may not be drawn, up to the token that may not come."""
    ids, found = {token: index for index, token in enumerate(vocabulary)}, []
    rows = np.zeros((len(molecules), left), np.int64)
    for row, molecule in zip(rows, molecules, strict=True):
        row[: len(molecule) + 1] = [ids[token] for token in (*molecule, "<end>")]
    rule.begin(len(molecules))
    alive = np.ones(len(molecules), np.bool_)
    for column in range(left):
        allowed = rule.allowed(left - column)
        tokens = rows[:, column]
        good = allowed[np.arange(len(rows)), tokens]
        found += ["".join(molecules[row][: column + 1]) for row in np.flatnonzero(alive & ~good)]
        alive &= good
        rule.take(np.where(good, tokens, allowed.argmax(1)))
    return found


def valid(smiles: str) -> bool:
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles) is not None


RULES = {vocabulary: SmilesRule(vocabulary) for vocabulary in (PLAIN, MOSES, CHARGED)}


@pytest.mark.parametrize("vocabulary", [PLAIN, MOSES, CHARGED], ids=["plain", "moses", "charged"])
@given(seed=st.integers(0, 10_000), left=st.integers(2, 36))
@settings(max_examples=12, deadline=None)
def test_whatever_is_drawn_is_valid(vocabulary: tuple[str, ...], seed: int, left: int) -> None:
    found = draw(RULES[vocabulary], vocabulary, 8, left, seed)
    assert [text for text in found if not text or not valid(text)] == []


def test_what_is_known_may_be_drawn() -> None:
    molecules = [split_smiles(text) for text in KNOWN]
    vocabulary = [*SPECIAL, *sorted({token for one in molecules for token in one})]
    assert all(valid(text) for text in KNOWN)
    assert refusals(SmilesRule(vocabulary), vocabulary, molecules, 120) == []


def test_molecules_of_moses_may_be_drawn() -> None:
    molecules = [found.tokens for found in read_molecules((fetch("moses-test"),), Ledger())]
    some = random.Random(0).sample(molecules, 3000)
    assert refusals(RULES[MOSES], MOSES, some, 64) == []


def test_one_that_fits_exactly_may_be_drawn() -> None:
    """`left` counts the end."""
    molecule = split_smiles("CC(=O)Oc1ccccc1C(=O)O")
    assert refusals(RULES[MOSES], MOSES, [molecule], len(molecule) + 1) == []


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("", "<end>"), ("", ")"), ("", "="), ("", "1"), ("C", ")"), ("C(", ")"), ("C(", "<end>"), ("C(C", "<end>"),
        ("C=", "<end>"), ("C=", "="), ("CC(C)", ")"), ("FC(F)(F)", "="), ("F", "C("), ("FC", "F("), ("O", "#"),
        ("N", "#O"), ("C1C", "1"), ("C1", "1"), ("C1C", "<end>"), ("C12CC1", "2"), ("C(C1", ")"), ("C#C", "="),
        ("c", "<end>"), ("c", "c"), ("c1cccc1", "<end>"), ("c1ccccc1=", "O"), ("c1ccc[nH]c1", "<end>"), ("c1cc", "C"),
        ("c1ccccc", "("), ("Cc1ccccc1", "c"), ("n1cccc1", "<end>"), ("o1cccc", "C"), ("c1ccocc1", "<end>"),
        ("C", "<pad>"), ("C", "<begin>"),
    ],
)  # fmt: skip
def test_what_leads_nowhere_may_not_be_drawn(text: str, token: str) -> None:
    """Of a token that is more than one, the last."""
    tokens = list(split_smiles(text)) if text else []
    tokens += [token] if token in MOSES else list(split_smiles(token))
    assert len(refusals(RULES[MOSES], MOSES, [tuple(tokens)], 40)) == 1


def test_every_state_has_an_end_within_its_bounds() -> None:
    """What smiles_outlook.py says without a search, against a search."""
    rule = SmilesRule(MOSES)
    draw(rule, MOSES, 30, 50, 0)
    for state in random.Random(0).sample(rule._states, 500):
        assert least_left(state) <= rule._reach(state) <= most_left(state), state


@pytest.mark.parametrize("gone", ["c", "C", "=", "-"])
def test_a_poor_vocabulary_is_searched_instead(gone: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where `C` or `c` is missing, nothing may be counted on, and that is said."""
    vocabulary = [*SPECIAL, *(token for token in split_smiles("CcnoNO()12=-") if token != gone)]
    found = draw(SmilesRule(vocabulary), vocabulary, 12, 20, 0)
    assert all(valid(text) for text in found)
    assert (f"the vocabulary lacks `{gone}`" in capsys.readouterr().err) == (gone in "cC=")


def test_begin_forgets_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genwerk.generators.smiles_rule._STATES", 50)
    rule = SmilesRule(PLAIN)
    first = draw(rule, PLAIN, 10, 20, 1)
    assert len(rule._states) > 50
    rule.begin(1)
    assert len(rule._states) < 50 and draw(rule, PLAIN, 10, 20, 1) == first


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(DataError, match="begins with <pad>"):
        SmilesRule(["C", "c"])
    with pytest.raises(DataError, match="no molecule can be written"):
        SmilesRule([*SPECIAL, "(", ")", "="])
    rule = SmilesRule(PLAIN)
    rule.begin(2)
    with pytest.raises(ValueError, match="1 tokens are too few"):
        rule.allowed(1)
    with pytest.raises(ValueError, match="draw 1 took token 5"):
        rule.take(np.array([3, 5]))


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("C", Atom(4)), ("Cl", Atom(1)), ("[C@@H]", Atom(3)), ("[N+]", Atom(4)), ("[O-]", Atom(1)), ("[NH3+]", Atom(1)),
        ("S", Atom(6)), ("[Na+]", Atom(0)), ("[2H]", Atom(1)), ("c", Atom(3, True, "must", True)),
        ("n", Atom(3, True, "may")), ("[nH]", Atom(2, True)), ("[n+]", Atom(3, True, "must")), ("o", Atom(2, True)),
        ("[nH+]", Atom(2, True, "must")), ("[n-]", Atom(2, True)), ("[N+2]", Atom(3)), ("[C++]", None),
        ("=", Bond("=")), ("/", Bond("-")), ("7", Ring(7)), ("%12", Ring(12)), ("(", Mark("(")), ("<end>", Mark("end")),
        ("<pad>", None), ("*", None), ("[Cu]", None), ("[U", None), ("[FH]", Atom(0)), ("[FH2]", None),
    ],
)  # fmt: skip
def test_tokens_are_read(text: str, token: object) -> None:
    assert read_token(text) == token
