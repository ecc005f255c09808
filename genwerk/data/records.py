"""Readers for files of records, one document each: JSON lines, CSV, TSV, Parquet.

The text column is the configured one, else the first of text, content, body, ... that is there, else the only column of
text. Files are read record by record, so their size does not matter; one record may have `max_bytes` at most.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from genwerk.data.decoding import decode, looks_binary, marked_encoding
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable, too_large

TEXT_COLUMNS = ("text", "content", "body", "document", "passage", "article", "page_content", "message", "description")
TITLE_COLUMNS = ("title", "heading", "headline", "name", "subject")
_BLOCK = 1 << 20


def read_jsonl(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """One JSON object a line. A line that is not JSON, or has no text, is left out by its number; the rest stays."""
    without_text = 0
    for number, line in _lines(path, options):
        part = f"line {number}"
        if isinstance(line, Unreadable):
            yield Unreadable(line.rule, line.detail, part)
            if line.rule == "binary content":
                return
            continue
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Unreadable("invalid JSON", f"{error}", part)
            continue
        if not isinstance(record, dict):
            yield Unreadable("invalid JSON", f"an object is wanted, found {type(record).__name__}", part)
            continue
        found = _from_record(record, part, options)
        without_text += isinstance(found, Unreadable) and found.rule == "no text column"
        if without_text <= 1 or isinstance(found, RawDocument) or found.rule != "no text column":
            yield found
    if without_text > 1:
        yield Unreadable("no text column", f"{without_text - 1} more lines like the first without one")


def read_csv(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """Rows under a header line; the separator (comma, semicolon, tab or |) is taken from that line."""
    stopped: list[Unreadable] = []

    def text_lines() -> Iterator[str]:
        for number, line in _lines(path, options):
            if isinstance(line, Unreadable):
                stopped.append(Unreadable(line.rule, line.detail, f"line {number}"))
                return
            yield line

    lines = text_lines()
    head = list(islice(lines, 1))
    separator = max("\t" if path.suffix.lower() == ".tsv" else ",", ";", "\t", "|", key=lambda sign: _count(head, sign))
    csv.field_size_limit(options.max_bytes)
    reader = csv.DictReader(chain(head, lines), delimiter=separator)
    rows = 0
    try:
        for row in reader:
            rows += 1
            found = _from_record({str(key): value for key, value in row.items()}, f"line {reader.line_num}", options)
            yield found
            if isinstance(found, Unreadable) and found.rule == "no text column":
                return
    except csv.Error as error:
        yield Unreadable("invalid CSV", f"{error}; the rest of the file is left out", f"line {reader.line_num}")
    yield from stopped
    if not rows and not stopped:
        yield Unreadable("no rows", f"only a header line: {', '.join(reader.fieldnames or ['nothing'])}")


def read_parquet(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """Rows of a Parquet file, read in batches of the text and title columns only."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
        texts = [
            f.name for f in file.schema_arrow if arrow.types.is_string(f.type) or arrow.types.is_large_string(f.type)
        ]
        column = choose_column(texts, options.text_column, TEXT_COLUMNS)
        if not column:
            yield _no_column(file.schema_arrow.names, options)
            return
        title = choose_column([name for name in texts if name != column], "", TITLE_COLUMNS, only=False)
        number = 0
        for batch in file.iter_batches(batch_size=256, columns=[name for name in (column, title) if name]):
            for record in batch.to_pylist():
                number += 1
                yield _from_record(record, f"row {number}", options, column)
    except arrow.ArrowException as error:
        yield Unreadable("damaged Parquet", str(error).split("\n", 1)[0])


def choose_column(names: Sequence[str], configured: str, usual: Iterable[str], *, only: bool = True) -> str:
    """The configured column, else the first usual one (in any case), else the only one; empty when none fits."""
    if configured:
        return configured if configured in names else ""
    by_lower = {name.lower().strip(): name for name in reversed(names)}
    found = next((by_lower[name] for name in usual if name in by_lower), "")
    return found or (names[0] if only and len(names) == 1 else "")


def _from_record(record: dict[str, Any], part: str, options: ReadOptions, column: str = "") -> RawDocument | Unreadable:
    texts = [name for name, value in record.items() if isinstance(value, str)]
    column = column or choose_column(texts, options.text_column, TEXT_COLUMNS)
    if not column:
        usual = choose_column(list(record), options.text_column, TEXT_COLUMNS, only=False)
        if usual:
            return Unreadable("no text", f"`{usual}` is {type(record[usual]).__name__}, not text", part)
        missing = _no_column(list(record), options)
        return Unreadable(missing.rule, missing.detail, part)
    text = record.get(column)
    if not isinstance(text, str) or not text.strip():
        return Unreadable("no text", f"`{column}` is empty", part)
    if len(text) > options.max_bytes:
        return Unreadable("too large", too_large(len(text), options).detail, part)
    title = choose_column([name for name in texts if name != column], "", TITLE_COLUMNS, only=False)
    return RawDocument(text, part, str(record[title]) if title else "", "plain")


def _no_column(names: Sequence[str], options: ReadOptions) -> Unreadable:
    wanted = f"`{options.text_column}`" if options.text_column else "text, content, body, ..."
    return Unreadable("no text column", f"found {', '.join(names) or 'none'}; wanted {wanted}: set data.text_column")


def _count(head: list[str], sign: str) -> int:
    return head[0].count(sign) if head else 0


def _lines(path: Path, options: ReadOptions) -> Iterator[tuple[int, str | Unreadable]]:
    """Numbered lines in bounded memory: of one longer than the limit only its number and size are kept."""
    with path.open("rb") as stream:
        head = stream.read(8192)
        if reason := looks_binary(head):
            yield 1, Unreadable("binary content", reason)
            return
        encoding = marked_encoding(head)
        stream.seek(0)
        if encoding.startswith("utf-") and encoding != "utf-8":
            yield from _wide_lines(stream, encoding.rsplit("-", 1)[0], options)
            return
        number = 0
        while line := stream.readline(options.max_bytes + 1):
            number += 1
            size = len(line)
            if size > options.max_bytes:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(_BLOCK)
                    size += len(line)
                yield number, too_large(size, options)
            else:
                yield number, decode(line).text


def _wide_lines(stream: Any, encoding: str, options: ReadOptions) -> Iterator[tuple[int, str | Unreadable]]:
    with io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline=None) as text:
        number = 0
        while line := text.readline(options.max_bytes + 1):
            number += 1
            if len(line) > options.max_bytes:
                size = len(line)
                while line and not line.endswith("\n"):
                    line = text.readline(_BLOCK)
                    size += len(line)
                yield number, too_large(size, options)
            else:
                yield number, line
