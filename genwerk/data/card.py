"""The data card: what a dataset holds, where it came from, under which licence, and what was done to it.

`card.json` for programs, `card.md` for people; the report shows it. No time and no path of a machine is in it, so the
same input gives the same card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genwerk.core.types import Document
from genwerk.data.ledger import CHANGED, DROPPED, Ledger


@dataclass(frozen=True, slots=True)
class InputRecord:
    """One source as it was read: how many files and bytes, and one hash over the hashes of its files."""

    source: str
    files: int
    bytes: int
    sha256: str


def build_card(
    documents: Sequence[Document], ledger: Ledger, inputs: Iterable[InputRecord], config: Mapping[str, Any]
) -> dict[str, Any]:
    """The card as JSON values: totals, then documents, characters and bytes by suffix, language, split and licence."""
    return {
        "documents": len(documents),
        "characters": sum(len(document.text) for document in documents),
        "bytes": sum(_size(document) for document in documents),
        "by_suffix": _table(documents, lambda document: document.metadata["suffix"]),
        "by_language": _table(documents, lambda document: document.metadata["language"]),
        "by_split": _table(documents, lambda document: document.metadata["split"]),
        "by_licence": _table(documents, lambda document: document.metadata["license"]),
        "dropped": ledger.counts(DROPPED),
        "changed": ledger.counts(CHANGED),
        "inputs": [asdict(record) for record in inputs],
        "config": dict(config),
    }


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card for people."""
    parts = [
        "# Data card",
        f"{card['documents']:,} documents, {card['characters']:,} characters, {card['bytes']:,} bytes of UTF-8.",
    ]
    names = (("suffix", "type"), ("language", "language"), ("split", "split"), ("licence", "licence"))
    for key, name in names:
        rows = [(value, *counts.values()) for value, counts in card[f"by_{key}"].items()]
        parts += [f"## By {name}", _markdown_table((name, "documents", "characters", "bytes"), rows)]
    for action in (DROPPED, CHANGED):
        if card[action]:
            parts += [f"## {action.title()}", _markdown_table(("rule", "times"), card[action].items())]
    rows = [(record["source"], record["files"], record["bytes"], record["sha256"][:16]) for record in card["inputs"]]
    parts += ["## Inputs", _markdown_table(("source", "files", "bytes", "sha256 (first 16)"), rows)]
    settings = [(name, value if value not in ([], "", None) else "-") for name, value in card["config"].items()]
    parts += ["## Settings", _markdown_table(("setting", "value"), settings)]
    parts.append("Every dropped and changed document is in `ledger.jsonl`, with the rule and what was found.")
    return "\n\n".join(parts) + "\n"


def _table(documents: Sequence[Document], key: Callable[[Document], str]) -> dict[str, dict[str, int]]:
    counts: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for document in documents:
        name = key(document)
        counts[name] += 1
        characters[name] += len(document.text)
        sizes[name] += _size(document)
    order = sorted(counts, key=lambda name: (-counts[name], name))
    return {name: {"documents": counts[name], "characters": characters[name], "bytes": sizes[name]} for name in order}


def _size(document: Document) -> int:
    return len(document.text.encode("utf-8"))


def _markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def cell(value: Any) -> str:
        if isinstance(value, list | tuple):
            return ", ".join(map(str, value))
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).replace("|", "/")

    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)
