"""Molecules as SMILES: a token an atom, a bond, a bracket or a ring digit.

Source: Weininger (1988), SMILES, a chemical language; tokens by atoms after Schwaller et al. (2018), "Found in
translation", whose regular expression this one follows; the columns are those of MOSES, Polykovskiy et al. (2018).

    c1ccc2[nH]ccc2c1  →  c 1 c c c 2 [nH] c c c 2 c 1

Nothing is parsed as chemistry here, so that millions are read in seconds. What the expression cannot read goes to the
ledger.

.csv, .csv.gz   a column SMILES; a column SPLIT with train, test or test_scaffolds says which are held out, and rows of
                which it says something else are left out
.smi, .txt      the first word of a line

Where no column says it, and files named train and files named test are read together, their names do.

Left out: reactions, and names of molecules.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from genwerk.core.errors import DataError
from genwerk.data.found_sequence import FoundSequence, Split
from genwerk.data.ledger import Ledger

__all__ = ["read_molecules", "split_smiles"]

_TOKEN = re.compile(r"\[[^\[\]\s]+\]|->|<-|Br|Cl|%[0-9]{2}|[BCNOPSFIbcnops0-9()=#\-$:/\\.~*]")
_ENDINGS = (".csv", ".csv.gz", ".smi", ".smi.gz", ".txt", ".txt.gz")
_FIELD = 2**24  # characters of a field in a table, which may hold more than SMILES
_SPLITS: Mapping[str, Split] = {"train": "train", "test": "heldout", "test_scaffolds": "heldout"}


def split_smiles(text: str) -> tuple[str, ...]:
    """The tokens of a SMILES; they join to it. Raises DataError for what is not written in SMILES."""
    tokens = tuple(_TOKEN.findall(text))
    if not tokens or "".join(tokens) != text:
        raise DataError(f"`{text}` is not SMILES: {_first_stranger(text)}", remedy="Give molecules as SMILES.")
    return tokens


def read_molecules(paths: tuple[Path, ...], ledger: Ledger) -> Iterator[FoundSequence]:
    """Every molecule of files, or of folders of them.

    Raises DataError for what is not there, and for a table without a column SMILES.
    """
    files = [file for path in paths for file in _files(path)]
    by_name = [_SPLITS.get(_stem(file), "") for file in files]
    told = {"train", "heldout"} <= set(by_name)  # one side alone says nothing: its files may be all there is
    for file, named in zip(files, by_name, strict=True):
        try:
            for number, text, side in _rows(file):
                if side and side not in _SPLITS:
                    ledger.drop(f"{file.name}:{number}", "unknown SPLIT", f"`{side}` is none of {', '.join(_SPLITS)}")
                    continue
                try:
                    tokens = split_smiles(text)
                except DataError as error:
                    ledger.drop(f"{file.name}:{number}", "not SMILES", error.what)
                else:
                    split = _SPLITS[side] if side else named if told else ""
                    yield FoundSequence(f"{file.name}:{number}", tokens, "", split)
        except (csv.Error, OSError, EOFError, zlib.error) as error:
            ledger.drop(file.name, "unreadable", str(error))


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []
    files = [file for file in files if file.is_file() and file.name.lower().endswith(_ENDINGS)]
    if not files:
        remedy = f"Name a file, or a folder of files, that end with one of {', '.join(_ENDINGS)}."
        raise DataError(f"there are no molecules at {path}", remedy=remedy)
    return files


def _stem(file: Path) -> str:
    return file.name.lower().partition(".")[0]


def _rows(file: Path) -> Iterator[tuple[int, str, str]]:
    """Number of the line, SMILES, and what the column SPLIT says, where there is one."""
    with _opened(file) as lines:
        if ".csv" not in file.name.lower():
            yield from ((number, line.split()[0], "") for number, line in enumerate(lines, 1) if line.strip())
            return
        rows = csv.reader(lines)
        names = [name.strip().upper() for name in next(rows, [])]
        if "SMILES" not in names:
            remedy = "Name the column of molecules SMILES."
            raise DataError(f"{file.name} has no column SMILES", where=str(file), remedy=remedy)
        smiles, side = names.index("SMILES"), names.index("SPLIT") if "SPLIT" in names else None
        for row in rows:
            if len(row) > smiles and row[smiles].strip():
                told = row[side].strip().lower() if side is not None and len(row) > side else ""
                yield rows.line_num, row[smiles].strip(), told


@contextmanager
def _opened(file: Path) -> Iterator[IO[str]]:
    """Bytes that are not UTF-8 become signs that are not SMILES, so that only their row is left out."""
    before = csv.field_size_limit(_FIELD)
    opened = gzip.open if file.name.lower().endswith(".gz") else open
    try:
        with opened(file, "rt", encoding="utf-8-sig", errors="replace", newline="") as lines:
            yield lines
    finally:
        csv.field_size_limit(before)


def _first_stranger(text: str) -> str:
    """What the first character is that no token begins with."""
    at = 0
    while (match := _TOKEN.match(text, at)) is not None:
        at = match.end()
    return f"`{text[at]}` at character {at + 1}" if at < len(text) else "it is empty"
