"""What a guard is, and how several of them look at one text.

A guard reads a text and returns a `Verdict` that names its rule. Three outcomes, told apart by `outcome`:

    passed     allowed, no reason given: nothing was found
    redacted   allowed, with a reason: `verdict.text` is what may pass on
    blocked    not allowed: `verdict.text` is empty

The guards run in order; each reads what the one before it let through, and the first that blocks ends the row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from genwerk.core.types import Verdict


@dataclass(frozen=True, slots=True)
class GuardContext:
    """What a guard may know beside the text: the passages an answer rests on, and the question."""

    passages: tuple[str, ...] = ()
    question: str = ""


class Guard(Protocol):
    """`name` is the prefix of every rule the guard reports."""

    @property
    def name(self) -> str: ...

    def check(self, text: str, context: GuardContext) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Inspection:
    """The text after all guards, whether it may pass, and one verdict per guard that looked."""

    text: str
    allowed: bool
    verdicts: tuple[Verdict, ...]


def passed(name: str, text: str) -> Verdict:
    """The verdict of a guard that found nothing."""
    return Verdict(True, text, name, "")


def outcome(verdict: Verdict) -> str:
    """`passed`, `redacted` or `blocked`."""
    if not verdict.allowed:
        return "blocked"
    return "redacted" if verdict.reason else "passed"


def inspect_text(guards: Iterable[Guard], text: str, context: GuardContext) -> Inspection:
    """Let every guard look at `text` in turn; stops at the first that blocks."""
    verdicts: list[Verdict] = []
    for guard in guards:
        verdict = guard.check(text, context)
        verdicts.append(verdict)
        if not verdict.allowed:
            return Inspection(text, False, tuple(verdicts))
        text = verdict.text
    return Inspection(text, True, tuple(verdicts))
