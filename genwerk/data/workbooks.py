"""XLSX by openpyxl: each sheet a heading and its rows as a Markdown table, as values.

A workbook is one document whose places are its sheets. Over `LONGEST` characters it is cut between rows into further
documents; each begins with its sheet's name and first row again, so that numbers keep their headings.

Left out: empty rows, charts, comments, formats of numbers. A formula is its stored result; one that no program has
computed yet has none and is an empty cell.
"""

from __future__ import annotations

import datetime
import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genwerk.data.archives import read_archive
from genwerk.data.places import Place
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable, missing_package

LONGEST = 500_000
_TICK = 1000


@dataclass(frozen=True, slots=True)
class _Row:
    sheet: str
    number: int
    text: str


@dataclass
class _Draft:
    lines: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    length: int = 0
    first: str = ""
    last: str = ""

    def add(self, line: str) -> None:
        self.lines.append(line)
        self.length += len(line) + 1

    def begin_sheet(self, name: str) -> None:
        if self.lines:
            self.add("")
        self.places.append(Place(self.length, f"sheet {name}"))
        self.add(f"# {name}")
        self.add("")


def read_xlsx(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """The sheets of a workbook. Raises DataError where openpyxl is not installed."""
    try:
        import openpyxl
    except ImportError as error:
        raise missing_package("XLSX", "openpyxl", path) from error

    def parse(file: io.BytesIO) -> Iterator[RawDocument | Unreadable]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions that no text depends on
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            found = list(_documents(_rows(book, options)))
        title = (book.properties.title if book.properties else "") or ""
        if not found:
            yield Unreadable("no text", "all sheets are empty")
        for draft in found:
            part = f"{draft.first} to {draft.last}" if len(found) > 1 else ""
            yield RawDocument("\n".join(draft.lines), part, title, "markdown", places=tuple(draft.places))

    yield from read_archive("XLSX", path, options, parse)


def _rows(book: Any, options: ReadOptions) -> Iterator[_Row]:
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # what a file says of its own size may be wrong
        for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
            if number % _TICK == 0:
                options.tick(f"row {number:,} of sheet {sheet.title}")
            if text := _cells(values):
                yield _Row(sheet.title, number, text)


def _documents(rows: Iterable[_Row]) -> Iterator[_Draft]:
    draft, sheet, header = _Draft(), "", ""
    for row in rows:
        if draft.lines and draft.length + len(row.text) > LONGEST:
            yield draft
            draft = _Draft()
            if row.sheet == sheet:
                draft.begin_sheet(sheet)
                draft.add(header)
        if row.sheet != sheet:
            sheet, header = row.sheet, row.text[:2000]
            draft.begin_sheet(sheet)
        draft.add(row.text)
        draft.last = f"{row.sheet} row {row.number}"
        draft.first = draft.first or draft.last
    if draft.lines:
        yield draft


def _cells(values: Iterable[Any]) -> str:
    texts = [_cell(value) for value in values]
    while texts and not texts[-1]:
        texts.pop()
    return "| " + " | ".join(texts) + " |" if texts else ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return " ".join(str(value).split()).replace("|", "/")
