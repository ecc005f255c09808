"""How many steps a run makes: said by the recipe, or found from `minutes` by timing a few steps once.

`steps` is the deterministic way. `minutes` is resolved before the first step and kept in `plan.json` of the scratch
directory, so that a killed run goes on with the same plan; the number is printed with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from genwerk.core.atomic import write_json
from genwerk.core.errors import TrainingError
from genwerk.core.progress import say

__all__ = ["Plan", "plan_steps"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The number of steps of a run and why it is that many."""

    steps: int
    reason: str


def plan_steps(scratch: Path, *, steps: int, minutes: float | None, probe: Callable[[], float]) -> Plan:
    """The plan of this run; `probe` measures the seconds of one step and is called at most once in a run's life.

    Raises TrainingError when no step fits into `minutes`.
    """
    if minutes is None:
        return Plan(steps, "as the recipe says")
    path = scratch / "plan.json"
    if path.exists():
        return Plan(**json.loads(path.read_text(encoding="utf-8")))
    seconds = probe()
    fitting = int(minutes * 60.0 / seconds)
    if fitting < 1:
        raise TrainingError(
            f"{minutes:g} minutes are too few: one step takes {seconds:.1f} s",
            remedy="Give more `minutes`, a smaller `batch`, or a number of `steps`.",
        )
    plan = Plan(fitting, f"{minutes:g} minutes at {seconds:.2f} s a step, measured on this machine")
    scratch.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(plan))
    say(f"{plan.steps} steps: {plan.reason}.")
    return plan
