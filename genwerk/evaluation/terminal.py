"""What an evaluation found, for the terminal: measures with their intervals, gates, and where the report is."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from genwerk.core.artifact import Artifact
from genwerk.evaluation.gates import GateResult
from genwerk.evaluation.measures import Measure, definition


def print_measures(report: Artifact) -> None:
    """A table of every measure: value, 95 % interval where there is one, number of cases, meaning."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("measure", "value", "interval", "n", "meaning"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("value", "n") else "left")
    for name in ("report.json", "timings.json"):
        for values in json.loads((report.path / name).read_text(encoding="utf-8"))["measures"]:
            item = Measure.from_json(values)
            span = f"{item.low:.4g} to {item.high:.4g}" if item.low is not None and item.high is not None else ""
            table.add_row(item.name, f"{item.value:.4g}", span, str(item.n), definition(item.name).meaning)
    console = Console()
    console.print(table)
    console.print(f"report: {report.path / 'report.html'}")


def print_scores(report: Artifact) -> None:
    """A table of what a generator's report says: value, interval, floor."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("measure", "value", "interval", "floor", "meaning"):
        table.add_column(heading, overflow="fold", justify="left" if heading in ("measure", "meaning") else "right")
    for values in json.loads((report.path / "report.json").read_text(encoding="utf-8"))["measures"]:
        item = Measure.from_json(values)
        span = f"{item.low:.4g} to {item.high:.4g}" if item.low is not None and item.high is not None else ""
        floor = "" if item.floor is None else f"{item.floor:.4g}"
        table.add_row(item.name, f"{item.value:.6g}", span, floor, definition(item.name).meaning)
    Console().print(table)


def print_gates(gates: Sequence[GateResult]) -> None:
    """Every gate with what was measured."""
    console = Console(stderr=True, highlight=False)
    for gate in gates:
        mark = "[green]✓[/]" if gate.passed else "[red]✗[/]"
        console.print(f"{mark} gate {gate.gate}: {gate.reason}")


def print_outcome(name: str, report: Artifact, gates: Sequence[GateResult], *, promoted: bool) -> None:
    """Gates with what was measured, whether the run was promoted, and what to do next."""
    console = Console(stderr=True, highlight=False)
    print_gates(gates)
    if promoted:
        console.print(f"[green]promoted[/]: `genwerk serve {name}` serves it, `genwerk chat {name}` asks it")
    else:
        console.print(
            "[red]not promoted[/]: a gate did not hold, so what was served before stays. The report says more."
        )
    console.print(f"report: {report.path / 'report.html'}", soft_wrap=True)
