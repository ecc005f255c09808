"""Step 1: files become a dataset. Read, normalise, filter, identify the language, deduplicate, redact, split, write.

    documents.jsonl   the documents, one a line; every later span points into these texts
    ledger.jsonl      every dropped and changed document with its rule
    card.json, .md    the data card

Chosen:   documents are held in memory while they are prepared (files of up to `max_file_bytes`, a few GB in all).
Try it:   genwerk run quickstart
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from genwerk.core.atomic import write_json, write_text
from genwerk.core.config import Config, Field
from genwerk.core.errors import ConfigError, DataError
from genwerk.core.progress import say
from genwerk.core.types import Document
from genwerk.core.workspace import Step
from genwerk.data.card import build_card, card_markdown
from genwerk.data.dedup import Deduplicator
from genwerk.data.documents import load_documents, write_documents
from genwerk.data.filters import reject
from genwerk.data.ledger import CHANGED, Ledger
from genwerk.data.places import Place, first_line, places_field
from genwerk.data.raw import ReadOptions
from genwerk.data.reading import ReadDocument, SourceReader
from genwerk.data.redact import redact
from genwerk.data.sections import clean_title, split_sections
from genwerk.data.split import HELDOUT, assign_splits

__all__ = ["PrepareConfig", "load_documents", "prepare", "read_documents"]

_ALARMING = (
    "unreadable", "binary content", "too large", "changed while read", "empty file", "no text", "unsupported type",
    "too slow", "parser stopped", "hostile XML", "needs text recognition", "damaged", "encrypted",
)  # fmt: skip
"""Rules are said aloud that begin with one of these."""

_SAID_ALOUD = 8


class PrepareConfig(Config):
    """What is read and what is done to it."""

    sources: tuple[str, ...] = Field(description="folders, files, python:topics or python:docstrings", min_length=1)
    languages: tuple[str, ...] = Field((), description="keep only these languages (ISO 639-1); empty keeps all")
    redact: tuple[Literal["email", "phone", "iban"], ...] = Field((), description="personal data to mask")
    min_chars: int = Field(40, ge=0, description="shorter documents say too little to be cited")
    holdout: float = Field(0.1, gt=0, lt=1, description="share of documents kept from training")
    max_file_bytes: int = Field(100_000_000, gt=0, description="larger files and records are refused")
    max_file_seconds: int = Field(
        600, gt=0, description="PDF, Office, e-mail or picture files that take longer are refused"
    )
    ocr: bool = Field(False, description="read pictures of text and scanned pages by tesseract, in `languages`")
    text_column: str = Field("", description="column with the text in JSONL, CSV and Parquet; empty: found by name")
    license: str = Field("unspecified", description="licence of the documents, printed on the data card")

    def reading(self) -> ReadOptions:
        """What readers are told of it."""
        return ReadOptions(
            max_bytes=self.max_file_bytes, text_column=self.text_column, ocr=self.ocr, languages=self.languages,
            max_seconds=float(self.max_file_seconds),
        )  # fmt: skip


def prepare(config: PrepareConfig, step: Step, *inputs: object) -> dict[str, float | int | str]:
    """Write the dataset to `step.out`. `inputs` are fingerprints of the sources; the files are named in `config`.

    Raises DataError where there is nothing to read or nothing left, ConfigError for a language that cannot be told.
    """
    _check_languages(config)
    ledger = Ledger()
    reader = SourceReader(config.sources, config.reading(), ledger)
    documents = list(_clean_all(config, reader, ledger))
    _say_problems(ledger)
    if not documents:
        raise _nothing_left(config, reader, ledger)
    splits = assign_splits(documents, config.holdout)
    documents = [replace(one, metadata={**one.metadata, "split": splits[one.id]}) for one in documents]
    settings = config.model_dump(mode="json", exclude={"sources"})
    card = build_card(documents, ledger, reader.inputs(), settings)
    write_documents(step.out, documents)
    ledger.write(step.out / "ledger.jsonl")
    write_json(step.out / "card.json", card)
    write_text(step.out / "card.md", card_markdown(card))
    return {
        "documents": len(documents),
        "characters": card["characters"],
        "heldout_documents": sum(split == HELDOUT for split in splits.values()),
        "dropped": sum(card["dropped"].values()),
        "changed": sum(card["changed"].values()),
        "languages": " ".join(f"{name}:{counts['documents']}" for name, counts in card["by_language"].items()),
    }


def read_documents(config: PrepareConfig) -> Iterator[Document]:
    """Documents of the sources, cleaned as for a dataset, one after the other; problems are said aloud at the end.

    Raises ConfigError for a language that cannot be told.
    """
    _check_languages(config)
    ledger = Ledger()
    yield from _clean_all(config, SourceReader(config.sources, config.reading(), ledger), ledger)
    _say_problems(ledger)


def _clean_all(config: PrepareConfig, reader: SourceReader, ledger: Ledger) -> Iterator[Document]:
    seen = Deduplicator()
    for read in reader.read():
        document = _clean(read, config, ledger)
        if document is None:
            continue
        if first := seen.duplicate_of(document.text, document.source):
            ledger.drop(document.source, "duplicate", f"the same text as {first}")
        else:
            yield document


def _clean(read: ReadDocument, config: PrepareConfig, ledger: Ledger) -> Document | None:
    """The document that becomes of one raw text, or None; either way the ledger says why."""
    from genwerk.data.language import choose_language  # loads a model
    from genwerk.data.normalise import normalise

    normal = normalise(read.raw.text, tuple(place.start for place in read.raw.places))
    changes = [*read.raw.notes, *normal.changes]
    rejection = reject(normal.text, min_chars=config.min_chars)
    if rejection:
        ledger.drop(read.source, rejection.rule, rejection.detail)
        return None
    language, wanted = choose_language(normal.text, config.languages)
    if not wanted:
        detail = f"{language.code} ({language.probability:.0%}) is not in [{', '.join(config.languages)}]"
        ledger.drop(read.source, "language", detail)
        return None
    text, marks = normal.text, normal.marks
    if config.redact:
        redaction = redact(text, config.redact, marks)
        text, marks = redaction.text, redaction.marks
        changes += [("redacted", f"{count} {kind}") for kind, count in redaction.counts.items()]
    for rule, detail in changes:
        ledger.change(read.source, rule, detail)
    return _document(read, text, marks, language.code, config)


def _document(read: ReadDocument, text: str, marks: tuple[int, ...], language: str, config: PrepareConfig) -> Document:
    from genwerk.data.normalise import normalise

    metadata = {
        "title": "",
        "language": language,
        "format": read.raw.format,
        "suffix": read.suffix,
        "license": read.license or config.license,
        "file_sha256": read.file_sha256,
        **_whereabouts(read, text, marks, config),
    }
    title = redact(clean_title(" ".join(normalise(read.raw.title).text.split())), config.redact).text
    document = Document.create(read.source, text, metadata=metadata)
    if not title:
        first = split_sections(document)[0]
        title = first.title if first.level else _stem(read.source)
    return replace(document, metadata={**metadata, "title": title[:200]})


def _whereabouts(read: ReadDocument, text: str, marks: tuple[int, ...], config: PrepareConfig) -> dict[str, str]:
    """The fields that `places` reads: first_line and encoding, or places, or none."""
    from genwerk.data.normalise import normalise

    labels = (redact(normalise(place.label).text, config.redact).text for place in read.raw.places)
    if field := places_field(map(Place, marks, labels), len(text)):
        return {"places": field}
    first = first_line(read.raw.text, text, read.raw.line) if read.raw.line else 0
    return {"first_line": str(first), "encoding": read.raw.encoding} if first else {}


def _stem(source: str) -> str:
    file, _, part = source.partition("#")
    return f"{Path(file).stem} {part}".strip()


def _check_languages(config: PrepareConfig) -> None:
    if not config.languages:
        return
    from genwerk.data.language import unknown_languages

    if unknown := unknown_languages(config.languages):
        raise ConfigError(
            f"`languages`: {', '.join(unknown)} cannot be told apart",
            remedy="Use two-letter codes such as en, de, fr, es, or leave the list empty to keep all.",
        )


def _say_problems(ledger: Ledger) -> None:
    loud = [entry for entry in ledger.dropped() if entry.rule.startswith(_ALARMING)]
    for entry in loud[:_SAID_ALOUD]:
        say(f"left out {entry.source}: {entry.rule}, {entry.detail}")
    if len(loud) > _SAID_ALOUD:
        say(f"left out {len(loud) - _SAID_ALOUD} more; all are in ledger.jsonl")
    if summary := ledger.summary():
        say(f"left out in all: {summary}")
    if changed := ledger.summary(CHANGED):
        say(f"changed: {changed}")


def _nothing_left(config: PrepareConfig, reader: SourceReader, ledger: Ledger) -> DataError:
    first = next(ledger.dropped(), None)
    example = f"; for example {first.source}: {first.rule}, {first.detail}" if first else ""
    remedy: dict[str, Any] = {
        "language": "Add the language to data.languages, or leave that list empty.",
        "too short": "Lower data.min_chars, or add longer documents.",
        "no text column": "Set data.text_column to the column that holds the text.",
        "needs text recognition": "Set data.ocr to true, with tesseract installed (apt-get install tesseract-ocr).",
        "no text": "Set data.ocr to true for scans, with tesseract installed (apt-get install tesseract-ocr).",
        "too large": "Split the files, or raise data.max_file_bytes.",
    }
    most = next(iter(ledger.counts("dropped")), "")
    return DataError(
        f"no document is left of {reader.n_files} files ({ledger.summary() or 'nothing was found'}{example})",
        where=", ".join(config.sources),
        remedy=remedy.get(most, "Add documents, or name another folder in `documents:`."),
    )
