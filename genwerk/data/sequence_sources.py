"""Where sequences of tokens come from: lines of text files, molecules as SMILES, scores of music.

lines       one sequence a line, a token a character; a file's name is its class where there are several
molecules   SMILES, a token an atom, a bond or a digit, see molecules.py
chorales    scores of four voices in MusicXML and MIDI files, four tokens a sixteenth; the class is the metre
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from genwerk.core.errors import DataError
from genwerk.data.chorales import VOICES, other_keys, read_scores
from genwerk.data.found_sequence import FoundSequence
from genwerk.data.ledger import Ledger
from genwerk.data.molecules import read_molecules

__all__ = ["READERS", "SEPARATORS", "TOGETHER", "VARIANTS", "FoundSequence"]


def read_lines(paths: tuple[Path, ...], ledger: Ledger) -> Iterator[FoundSequence]:
    """Every line that is not empty, of files or of folders with .txt files. Raises DataError for what is not there."""
    files = [file for path in paths for file in _text_files(path)]
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            ledger.drop(file.name, "unreadable", f"not UTF-8: {error.reason} at byte {error.start}")
            continue
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield FoundSequence(f"{file.name}:{number}", tuple(line.strip()), file.stem if len(files) > 1 else "")


def _text_files(path: Path) -> list[Path]:
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise DataError(f"there are no text files at {path}", remedy="Name a file, or a folder with .txt files.")
    return files


READERS: Mapping[str, Callable[[tuple[Path, ...], Ledger], Iterator[FoundSequence]]] = {
    "lines": read_lines, "molecules": read_molecules, "chorales": read_scores,
}  # fmt: skip

VARIANTS: Mapping[str, Callable[[tuple[str, ...]], Iterator[tuple[str, ...]]]] = {"chorales": other_keys}
"""What is as good as a sequence that was found, to learn from."""

TOGETHER: Mapping[str, int] = {"chorales": len(VOICES)}
"""Tokens of which none stands alone, so that windows begin and end between them; one elsewhere."""

SEPARATORS: Mapping[str, str] = {"chorales": " "}
"""What stands between tokens where a sequence is written as a line; nothing elsewhere."""
