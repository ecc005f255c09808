"""The ledger: one line for every document that was dropped or changed, with the rule and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from genwerk.core.jsonl import write_jsonl

DROPPED = "dropped"
CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What happened to one source: `action` is dropped or changed, `detail` what was found, in words."""

    source: str
    action: str
    rule: str
    detail: str


class Ledger:
    """Entries in the order in which they were made."""

    def __init__(self) -> None:
        self.entries: list[LedgerEntry] = []

    def drop(self, source: str, rule: str, detail: str) -> None:
        """The source, or one document of it, is left out."""
        self.entries.append(LedgerEntry(source, DROPPED, rule, detail))

    def change(self, source: str, rule: str, detail: str) -> None:
        """The document stays, with another text than its file has."""
        self.entries.append(LedgerEntry(source, CHANGED, rule, detail))

    def dropped(self) -> Iterator[LedgerEntry]:
        """Only what was left out."""
        return (entry for entry in self.entries if entry.action == DROPPED)

    def counts(self, action: str) -> dict[str, int]:
        """How often each rule applied, the most frequent first."""
        counted = Counter(entry.rule for entry in self.entries if entry.action == action)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    def summary(self, action: str = DROPPED) -> str:
        """For a message: `3 too short, 1 binary`."""
        return ", ".join(f"{count} {rule}" for rule, count in self.counts(action).items())

    def write(self, path: Path) -> None:
        """One JSON object a line."""
        write_jsonl(path, map(asdict, self.entries))
