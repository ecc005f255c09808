"""Molecules of every kind of file become tokens that join to them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.errors import DataError
from genwerk.data.ledger import Ledger
from genwerk.data.molecules import split_smiles
from genwerk.data.sequence_sources import READERS

read_molecules = READERS["molecules"]
WORDS = "C c N [nH] [C@@H] Cl Br [13CH3+] ( ) = # - / \\ . 1 %12 : ~ *"
TOKENS = WORDS.split()


def test_atoms_bonds_and_digits_are_tokens() -> None:
    assert split_smiles("Cc1[nH]c(Br)cc1Cl") == ("C", "c", "1", "[nH]", "c", "(", "Br", ")", "c", "c", "1", "Cl")
    assert split_smiles(r"F/C=C\[C@@H]%10") == ("F", "/", "C", "=", "C", "\\", "[C@@H]", "%10")


@given(st.lists(st.sampled_from(TOKENS), min_size=1))
def test_tokens_join_to_the_text_and_are_found_again(tokens: list[str]) -> None:
    assert split_smiles("".join(tokens)) == tuple(tokens)


@pytest.mark.parametrize(
    ("text", "stranger"),
    [
        ("CXC", "`X` at character 2"),
        ("C[nH", r"`\[` at character 2"),
        ("", "it is empty"),
        ("C O", "` ` at character 2"),
    ],
)
def test_what_is_not_smiles_is_named(text: str, stranger: str) -> None:
    with pytest.raises(DataError, match=f"is not SMILES: {stranger}"):
        split_smiles(text)


def test_a_table_has_its_columns_and_its_split(tmp_path: Path) -> None:
    path, ledger = tmp_path / "all.csv", Ledger()
    path.write_text("SMILES,SPLIT\nCCO,train\nCCN,test\n CCF ,test_scaffolds\nCXC,train\n\nCC,\n")
    found = list(read_molecules((path,), ledger))
    assert [("".join(one.tokens), one.split) for one in found] == [
        ("CCO", "train"), ("CCN", "heldout"), ("CCF", "heldout"), ("CC", ""),
    ]  # fmt: skip
    assert [one.source for one in found] == ["all.csv:2", "all.csv:3", "all.csv:4", "all.csv:7"]
    assert [(one.source, one.rule) for one in ledger.entries] == [("all.csv:5", "not SMILES")]


def test_one_bad_row_costs_no_other(tmp_path: Path) -> None:
    table, lines, ledger = tmp_path / "a.csv", tmp_path / "b.smi", Ledger()
    table.write_bytes("\ufeffSMILES,NAME\nCCO,a\n".encode() + b"C\xff,b\n" + f'CN,"{"x" * 140_000}"\nCF,c\n'.encode())
    lines.write_bytes("\ufeffCCO\n".encode() + b"CC\xfe\n" + b"CN\n" * 3)
    found = [("".join(one.tokens), one.source) for one in read_molecules((table, lines), ledger)]
    assert found == [("CCO", "a.csv:2"), ("CN", "a.csv:4"), ("CF", "a.csv:5"), ("CCO", "b.smi:1"),
                     *(("CN", f"b.smi:{number}") for number in (3, 4, 5))]  # fmt: skip
    assert [(one.source, one.rule) for one in ledger.entries] == [("a.csv:3", "not SMILES"), ("b.smi:2", "not SMILES")]


def test_a_side_that_is_not_known_is_left_out_by_name(tmp_path: Path) -> None:
    path, ledger = tmp_path / "a.csv", Ledger()
    path.write_text("SMILES,SPLIT\nCCO,Train\nCCN,valid\nCCF,\n")
    assert {one.source: one.split for one in read_molecules((path,), ledger)} == {"a.csv:2": "train", "a.csv:4": ""}
    assert [(one.source, one.rule) for one in ledger.entries] == [("a.csv:3", "unknown SPLIT")]
    assert "`valid` is none of train, test, test_scaffolds" in ledger.entries[0].detail


def test_names_say_the_split_where_both_sides_are_there(tmp_path: Path) -> None:
    for name in ("train", "test", "test_scaffolds", "other"):
        with gzip.open(tmp_path / f"{name}.csv.gz", "wt") as file:
            file.write("smiles\nCCO\n")
    found = {one.source: one.split for one in read_molecules((tmp_path,), Ledger())}
    assert found == {
        "other.csv.gz:2": "", "train.csv.gz:2": "train",
        "test.csv.gz:2": "heldout", "test_scaffolds.csv.gz:2": "heldout",
    }  # fmt: skip
    assert [one.split for one in read_molecules((tmp_path / "train.csv.gz",), Ledger())] == [""]


def test_lines_have_a_molecule_first(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("CCO ethanol\n\nc1ccccc1\tbenzene\n")
    (tmp_path / "b.txt").write_text("CC\r\nCN\r\n")
    (tmp_path / "c.pdf").write_text("CC")
    assert ["".join(one.tokens) for one in read_molecules((tmp_path,), Ledger())] == ["CCO", "c1ccccc1", "CC", "CN"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no molecules"):
        list(read_molecules((tmp_path,), Ledger()))
    path, ledger = tmp_path / "a.csv", Ledger()
    path.write_text("NAME\nethanol\n")
    with pytest.raises(DataError, match="has no column SMILES"):
        list(read_molecules((path,), ledger))
    (tmp_path / "b.smi").write_bytes(b"CC\n\xff\xfe\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"SMILES\nCC\n" * 99)[:-9])
    list(read_molecules((tmp_path / "b.smi", tmp_path / "c.csv.gz"), ledger))
    rules = {one.source: one.rule for one in ledger.entries if not one.source.startswith("c.csv.gz:")}
    assert rules == {"b.smi:2": "not SMILES", "c.csv.gz": "unreadable"}
