"""What was measured of a generator, and what can be looked at: what scoring hands to the report.

report.json    settings, measures, a sentence, exhibits, texts, limits
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genwerk.core.atomic import write_json
from genwerk.evaluation.measures import Measure
from genwerk.models.arrays import read_json

__all__ = ["Exhibit", "Scored", "joined"]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A picture or a file to be opened, beside report.json, and what it shows."""

    file: str
    caption: str


@dataclass(frozen=True, slots=True)
class Scored:
    """summary: a sentence; texts: samples that can be read; limits: what the numbers do not say."""

    settings: Mapping[str, Any]
    measures: Sequence[Measure]
    summary: str
    exhibits: Sequence[Exhibit] = ()
    texts: Sequence[str] = ()
    limits: Sequence[str] = ()

    def write(self, out: Path) -> None:
        """As report.json."""
        plain = {**{name: getattr(self, name) for name in ("settings", "summary", "texts", "limits")},
                 "measures": [one.to_json() for one in self.measures],
                 "exhibits": [asdict(one) for one in self.exhibits]}  # fmt: skip
        write_json(out / "report.json", plain)

    @classmethod
    def read(cls, path: Path) -> Scored:
        """What `write` wrote. Raises ModelError where it is missing."""
        record = read_json(path / "report.json")
        measures = [Measure.from_json(values) for values in record.pop("measures")]
        exhibits = [Exhibit(**values) for values in record.pop("exhibits")]
        return cls(measures=measures, exhibits=exhibits, **record)


def joined(several: Sequence[Scored]) -> Scored:
    """All as one, in this order; settings of the later ones by the group of what they measured."""
    first, *later = several
    groups = {one.measures[0].name.partition(".")[0]: one.settings for one in later}
    return Scored(
        {**first.settings, **groups},
        [measure for one in several for measure in one.measures],
        " ".join(one.summary for one in several),
        [exhibit for one in several for exhibit in one.exhibits],
        [text for one in several for text in one.texts],
        [limit for one in several for limit in one.limits],
    )
