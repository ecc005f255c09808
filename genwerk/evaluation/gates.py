"""Gates: conditions on measures that a model must meet before it is promoted to serving.

    measure op number        citations.valid == 1.0        retrieval.ndcg@10.low >= 0.55

op is ==, >=, <=, > or <. A measure that was not evaluated fails its gate and says so: silence is not a pass.

Chosen:   comparisons are exact, with no tolerance; to allow for chance, ask for the end of an interval (`.low`).
Left out: arithmetic and `and`/`or`. Several gates are all required.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.errors import ConfigError
from genwerk.evaluation.measures import definition

__all__ = [
    "Gate",
    "GateResult",
    "all_passed",
    "check_gates",
    "parse_gate",
    "parse_gates",
    "read_gates",
    "results_to_json",
]

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq, ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_GRAMMAR = re.compile(r"\s*([A-Za-z][\w@.]*)\s*(==|>=|<=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition: `measure op bound`."""

    measure: str
    op: str
    bound: float

    def __str__(self) -> str:
        return f"{self.measure} {self.op} {self.bound:.10g}"


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a gate found. `value` is None where the measure was not evaluated or is not a number."""

    gate: Gate
    passed: bool
    value: float | None
    reason: str


def parse_gate(text: str, *, where: str = "") -> Gate:
    """Read one gate. Raises ConfigError for a sentence outside the grammar or a measure nobody knows."""
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"`{text}` is not a gate",
            where=where,
            remedy="Write `measure op number` with ==, >=, <=, > or <, such as `citations.valid == 1.0`.",
        )
    measure, op, number = match.groups()
    definition(measure, where=where)
    return Gate(measure, op, float(number))


def parse_gates(texts: Iterable[str], *, where: str = "gates") -> tuple[Gate, ...]:
    """Read all gates of a recipe; the error names the position of the one that is wrong."""
    return tuple(parse_gate(text, where=f"{where}[{index}]") for index, text in enumerate(texts))


def check_gates(gates: Iterable[Gate | str], measures: Mapping[str, float]) -> list[GateResult]:
    """Hold `measures` (flat dotted names to numbers) against every gate, in the order of the recipe."""
    return [_check(parse_gate(gate) if isinstance(gate, str) else gate, measures) for gate in gates]


def _check(gate: Gate, measures: Mapping[str, float]) -> GateResult:
    value = measures.get(gate.measure)
    if value is None:
        return GateResult(gate, False, None, f"{gate.measure} was not evaluated, so this gate cannot pass")
    if math.isnan(value):
        return GateResult(gate, False, None, f"{gate.measure} had no case to measure, so this gate cannot pass")
    passed = _OPERATORS[gate.op](value, gate.bound)
    return GateResult(
        gate, passed, value, f"measured {value:.4g}, {'met' if passed else 'wanted'} {gate.op} {gate.bound:.10g}"
    )


def all_passed(results: Iterable[GateResult]) -> bool:
    """True where no gate failed; a recipe without gates promotes."""
    return all(result.passed for result in results)


def results_to_json(results: Iterable[GateResult]) -> dict[str, object]:
    """What gates.json holds: {"passed": bool, "results": [{gate, measure, op, bound, value, passed, reason}]}."""
    found = list(results)
    rows = [
        {"gate": str(item.gate), "measure": item.gate.measure, "op": item.gate.op, "bound": item.gate.bound,
         "value": item.value, "passed": item.passed, "reason": item.reason}
        for item in found
    ]  # fmt: skip
    return {"passed": all_passed(found), "results": rows}


def read_gates(report: Path) -> list[GateResult]:
    """The results in a report's gates.json, the reverse of `results_to_json`."""
    rows = json.loads((report / "gates.json").read_text(encoding="utf-8"))["results"]
    return [
        GateResult(Gate(row["measure"], row["op"], row["bound"]), row["passed"], row["value"], row["reason"])
        for row in rows
    ]
