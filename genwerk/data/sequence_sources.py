"""Where sequences of tokens come from: lines of text files, molecules as SMILES, scores of music.

lines       one sequence a line, a token a character; a file's name is its class where there are several
molecules   SMILES, a token an atom, a bond or a digit, see molecules.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from genwerk.core.errors import DataError
from genwerk.data.found_sequence import FoundSequence
from genwerk.data.ledger import Ledger
from genwerk.data.molecules import read_molecules

__all__ = ["READERS", "FoundSequence"]


def read_lines(paths: tuple[Path, ...], ledger: Ledger) -> Iterator[FoundSequence]:
    """Every line that is not empty, of files or of folders with .txt files. Raises DataError for what is not there."""
    for path in paths:
        files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise DataError(f"there are no text files at {path}", remedy="Name a file, or a folder with .txt files.")
        for file in files:
            label = file.stem if len(files) > 1 else ""
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except UnicodeDecodeError as error:
                ledger.drop(file.name, "unreadable", f"not UTF-8: {error.reason} at byte {error.start}")
                continue
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield FoundSequence(f"{file.name}:{number}", tuple(line.strip()), label)


READERS: Mapping[str, Callable[[tuple[Path, ...], Ledger], Iterator[FoundSequence]]] = {
    "lines": read_lines, "molecules": read_molecules,
}  # fmt: skip
