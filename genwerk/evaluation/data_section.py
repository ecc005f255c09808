"""The data card as a section of the report: how much, from where, under which licence, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["data_section"]

_MOST_ROWS = 12
_TABLES = (("split", "split"), ("language", "language"), ("suffix", "kind of file"), ("licence", "licence"))
_SPLITS = {"train": "training", "heldout": "held out"}


def data_section(card: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of `card.json` (see genwerk.data.card)."""
    split = card.get("by_split", {})
    dropped, changed = (sum(card.get(name, {}).values()) for name in ("dropped", "changed"))
    facts = [
        ("documents", card["documents"]),
        ("characters", card["characters"]),
        ("documents held out", split.get("heldout", {}).get("documents", 0)),
        ("left out", dropped),
        ("changed", changed),
    ]
    return {
        "lead": "What the model learned from and answers with. Held-out documents are searched like all others, but no "
        "model was trained on them here. Each document left out or changed stands in the ledger with its rule.",
        "facts": [{"label": label, "value": f"{value:,}"} for label, value in facts],
        "tables": [*_counted(card), *_rules(card), *_inputs(card)],
    }


def _counted(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One table for everything that documents are counted by; a count with a single row says little and is joined."""
    rows = []
    for key, label in _TABLES:
        for name, counts in card.get(f"by_{key}", {}).items():
            shown = _SPLITS.get(name, name) or "not stated"
            rows.append([f"{label}: {shown}", f"{counts['documents']:,}", f"{counts['characters']:,}"])
    return [_table("What is inside", ["", "documents", "characters"], rows)] if rows else []


def _rules(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [
        [f"{action}: {rule}", f"{count:,}"]
        for action, key in (("left out", "dropped"), ("changed", "changed"))
        for rule, count in card.get(key, {}).items()
    ]
    return [_table("What was done to it", ["rule", "times"], rows)] if rows else []


def _inputs(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [
        [record["source"], f"{record['files']:,}", f"{record['bytes']:,}", record["sha256"][:16]]
        for record in card.get("inputs", ())
    ]
    return [_table("Where it came from", ["source", "files", "bytes", "sha256"], rows)] if rows else []


def _table(title: str, head: list[str], rows: Sequence[list[str]]) -> dict[str, Any]:
    """At most `_MOST_ROWS` rows; how many are not shown is said in the last one."""
    shown = list(rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        shown.append([f"… and {len(rows) - _MOST_ROWS} more", *[""] * (len(head) - 1)])
    return {"title": title, "head": head, "rows": shown}
