"""The report of a generator as one HTML file, and the gates' verdict. Measuring is generator.py's
and sequences.py's."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from genwerk.core.artifact import Artifact
from genwerk.core.atomic import write_json, write_text
from genwerk.core.workspace import Step
from genwerk.evaluation.gates import check_gates, parse_gates, results_to_json
from genwerk.evaluation.measures import Measure, definition, flatten
from genwerk.evaluation.plots import CurvePoint, loss_curve
from genwerk.evaluation.report import ReportConfig
from genwerk.evaluation.scored import Exhibit, Scored, joined
from genwerk.evaluation.wording import verdict
from genwerk.models.arrays import read_json
from genwerk.training.curve import read_curve

__all__ = ["write_generator_report"]

_HERE = Path(__file__).parent
_PICTURES = {".png": "image/png", ".gif": "image/gif"}


def write_generator_report(
    config: ReportConfig, step: Step, scores: Artifact, generator: Artifact, *others: Artifact
) -> Mapping[str, float | int | str]:
    """Write report.html, gates.json and copies of what was measured; returns how many gates passed and failed.

    others   what else was scored of it; its pictures and measures come after
    """
    places = {exhibit.file: one.path for one in (scores, *others) for exhibit in Scored.read(one.path).exhibits}
    scored = joined([Scored.read(one.path) for one in (scores, *others)])
    record = read_json(generator.path / "family.json")
    results = check_gates(parse_gates(config.gates), flatten(scored.measures))
    scored.write(step.out)
    write_json(step.out / "gates.json", results_to_json(results))
    for exhibit in scored.exhibits:
        (step.out / exhibit.file).write_bytes((places[exhibit.file] / exhibit.file).read_bytes())
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((_HERE / "generator.html.jinja").read_text(encoding="utf-8"))
    html = template.render(
        title=config.title,
        family=record["family"],
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        summary=scored.summary,
        verdict=verdict(results),
        pictures=[(_embedded(places[one.file] / one.file), one.caption) for one in _of_kinds(scored, *_PICTURES)],
        plots=[(_drawn(places[one.file] / one.file), one.caption) for one in _of_kinds(scored, ".svg")],
        sounds=[(_embedded(places[one.file] / one.file), one.caption) for one in _of_kinds(scored, ".wav")],
        files=[one for one in scored.exhibits if one not in _of_kinds(scored, *_PICTURES, ".svg")],
        texts=scored.texts,
        limits=scored.limits,
        rows=[_row(one) for one in scored.measures],
        curve=_curve(generator.path / "loss.jsonl"),
        settings=[(name, value) for name, value in _flat({**scored.settings, **record["config"]})],
    )
    write_text(step.out / "report.html", html)
    failed = sum(not result.passed for result in results)
    return {"gates.passed": len(results) - failed, "gates.failed": failed, "promoted": "no" if failed else "yes"}


def _row(one: Measure) -> dict[str, str]:
    known = definition(one.name)
    span = f"{_short(one.low)} – {_short(one.high)}" if one.low is not None and one.high is not None else ""
    floor = "" if one.floor is None else _short(one.floor)
    unit = known.unit if known.unit not in ("share", "p", "") else ""
    return {"label": known.label, "value": f"{_short(one.value)} {unit}".strip(), "interval": span, "floor": floor,
            "n": f"{one.n:,}", "meaning": known.meaning}  # fmt: skip


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"


def _curve(path: Path) -> Markup | str:
    rows = read_curve(path)
    if len(rows) < 2:
        return ""
    points = [CurvePoint(int(row["step"]), float(row["loss"]), row.get("val_loss")) for row in rows]
    return Markup(loss_curve(points, name="training", unit="loss", description="loss over steps of training"))


def _of_kinds(scored: Scored, *endings: str) -> list[Exhibit]:
    return [one for one in scored.exhibits if one.file.endswith(endings)]


def _drawn(path: Path) -> Markup:
    return Markup(path.read_text(encoding="utf-8"))


def _embedded(path: Path) -> str:
    """As an address of its own, so that the report is one file."""
    kind = _PICTURES.get(path.suffix, "audio/wav")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        found += _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else [(f"{before}{name}", str(value))]
    return found
