"""What one group of measurements came to: measures, and details for the report; kept as JSON to survive a kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genwerk.evaluation.measures import Measure

__all__ = ["Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """measures   deterministic numbers
    details    what the report shows beside them, JSON
    timings    numbers that differ from run to run; they never enter report.json
    """

    measures: tuple[Measure, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    timings: tuple[Measure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "measures": [measure.to_json() for measure in self.measures],
            "details": dict(self.details),
            "timings": [measure.to_json() for measure in self.timings],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Outcome:
        measures, timings = (
            tuple(Measure.from_json(entry) for entry in values[name]) for name in ("measures", "timings")
        )
        return cls(measures, values["details"], timings)
