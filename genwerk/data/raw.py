"""What a reader yields: the raw text of one document, or what kept it from being read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.errors import DataError
from genwerk.data.places import Place


@dataclass(frozen=True, slots=True)
class RawDocument:
    """Text as it came out of a file.

    part    which part of the file: `line 12`, `row 3`; empty for a file that is one document.
    format  what `sections` takes its headings for: markdown, rst, docstrings, python or plain.
    notes   what had to be repaired while reading, for the ledger: (rule, detail).
    places  where pages, slides, sheets or chapters begin in `text`; see `places`.
    line    the line of the file that `text` begins with, where each of its lines is a line of the file; else 0.
    encoding  what the file was read as, where it is text.
    """

    text: str
    part: str = ""
    title: str = ""
    format: str = "plain"
    notes: tuple[tuple[str, str], ...] = ()
    places: tuple[Place, ...] = ()
    line: int = 0
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file, or a part of one, that gave no document; `rule` and `detail` go to the ledger."""

    rule: str
    detail: str
    part: str = ""


def _silent(progress: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Limits, columns and text recognition. Files that are one document, and single records, may have `max_bytes`.

    ocr         read pictures of text, and pages without a text layer, by tesseract in `languages` (ISO 639-1).
    max_seconds for one file; kept by who reads it in a process of its own (`guarded`).
    tick        told how far a long file is: `page 12 of 300`.
    depth       how many files deep this one is inside of others (attachments of e-mail).
    """

    max_bytes: int = 100_000_000
    text_column: str = ""
    ocr: bool = False
    languages: tuple[str, ...] = ()
    max_seconds: float = 600.0
    tick: Callable[[str], None] = _silent
    depth: int = 0


Reader = Callable[[Path, ReadOptions], Iterator[RawDocument | Unreadable]]


def too_large(size: int, options: ReadOptions) -> Unreadable:
    """The one message for what is over the limit."""
    return Unreadable(
        "too large",
        f"{size / 1e6:,.1f} MB or more are over the limit of {options.max_bytes / 1e6:,.1f} MB; "
        "split it, or raise data.max_file_bytes",
    )


def missing_package(kind: str, package: str, path: Path) -> DataError:
    """The one message for a parser that is not installed."""
    return DataError(
        f"reading {kind} files needs {package}, which is not installed",
        where=path.name,
        remedy="Run `pip install genwerk[documents]`.",
    )


def damaged(kind: str, error: BaseException) -> Unreadable:
    """The one message for what a parser could not make sense of."""
    if isinstance(error, MemoryError):
        return Unreadable("too large", "it needs more memory than a file of this size should; split it")
    said = " ".join(f"{error}".split())[:200]
    return Unreadable(f"damaged {kind}", f"{type(error).__name__}: {said}" if said else type(error).__name__)
