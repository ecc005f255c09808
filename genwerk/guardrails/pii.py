"""Personal data: kept from the model on the way in, kept in the house on the way out.

The finder is `data.redact.find_pii` (e-mail, phone, IBAN with its checksum), the same that cleans the training data.
On the way in a finding is replaced by its kind, `[email]`, before anything is searched, generated or logged; or the
request is blocked, as configured. On the way out only what does not stand in a cited passage is removed: a handbook
that names its help desk may be quoted.

Left out:  names and addresses; they need a tagger, not a pattern.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal

from genwerk.core.types import Verdict
from genwerk.data.redact import Pii, find_pii, redact
from genwerk.guardrails.guard import GuardContext, passed

Action = Literal["redact", "block"]


class InputPii:
    """Redacts (or blocks) personal data in what a user sends."""

    name = "input.pii"

    def __init__(self, action: Action = "redact") -> None:
        self.action = action

    def check(self, text: str, context: GuardContext) -> Verdict:
        """`text` with every finding replaced by its kind, or a refusal. The reason names kinds, never the data."""
        return _decide(self.name, self.action, text, find_pii)


class OutputPii:
    """Redacts (or blocks) personal data in an answer, unless a cited passage holds the same."""

    name = "output.pii"

    def __init__(self, action: Action = "redact") -> None:
        self.action = action

    def check(self, text: str, context: GuardContext) -> Verdict:
        """As `InputPii.check`, for findings that no passage in `context` contains."""
        known = [_bare(passage) for passage in context.passages]

        def find_unknown(text: str) -> list[Pii]:
            return [pii for pii in find_pii(text) if not _known(text[pii.start : pii.end], known)]

        return _decide(self.name, self.action, text, find_unknown)


def mask_pii(text: str) -> str:
    """`text` with every finding replaced by its kind: what may be written to a log whatever the guards decide."""
    return redact(text).text


def _decide(name: str, action: Action, text: str, find: Callable[[str], list[Pii]]) -> Verdict:
    findings = find(text)
    if not findings:
        return passed(name, text)
    kinds = sorted({pii.kind for pii in findings})
    rule = f"{name}.{kinds[0]}" if len(kinds) == 1 else name
    listed = ", ".join(kinds)
    if action == "block":
        return Verdict(False, "", rule, f"contains personal data ({listed})")
    count = 0
    while findings:  # taking one out can bring another to light
        count += len(findings)
        text = _replace(text, findings)
        findings = find(text)
    return Verdict(True, text, rule, f"{count} removed ({listed})")


def _replace(text: str, findings: Sequence[Pii]) -> str:
    for pii in sorted(findings, key=lambda found: found.start, reverse=True):
        text = f"{text[: pii.start]}[{pii.kind}]{text[pii.end :]}"
    return text


def _known(value: str, passages: list[str]) -> bool:
    bare = _bare(value)
    return any(bare in passage for passage in passages)


def _bare(text: str) -> str:
    """Letters, digits and the signs of an address only, so that spacing and dashes of a number do not matter."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign for sign in folded if sign.isalnum() or sign in "@+.")
