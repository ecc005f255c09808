"""The end of a recipe of a generator: its gates are read, and pins say what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genwerk.core.artifact import Artifact
from genwerk.core.progress import say
from genwerk.core.workspace import Workspace
from genwerk.evaluation.gates import all_passed, read_gates
from genwerk.evaluation.terminal import print_gates, print_scores
from genwerk.recipe import Outcome

__all__ = ["print_generator", "promote"]


def promote(workspace: Workspace, role: str, name: str, parts: Mapping[str, Artifact]) -> Outcome:
    """Pin the parts as the latest of this name, and in this role where every gate held."""
    gates = tuple(read_gates(parts["report"].path))
    promoted = all_passed(gates)
    pin: dict[str, Any] = {part: artifact.id for part, artifact in parts.items()}
    for pinned in (f"latest-{name}", *([f"{role}-{name}"] if promoted else [])):
        if workspace.pinned(pinned) != pin:
            workspace.pin(pinned, pin)
    return Outcome(dict(parts), gates, promoted)


def print_generator(outcome: Outcome, next_commands: str) -> None:
    """Scores, gates, where the report is, and what to do next."""
    print_scores(outcome.parts["report"])
    print_gates(outcome.gates)
    say(f"report: {outcome.parts['report'].path / 'report.html'}")
    word = "promoted" if outcome.promoted else "not promoted, as a gate did not hold"
    say(f"{word}. Next: {next_commands}")
