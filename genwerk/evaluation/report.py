"""The report of a run as one HTML file, and the gates' verdict: what is measured, how, and what it does not say.

    workspace.step(write_report, ReportConfig(title=…, gates=…), evaluation, dataset, pretrained, adapter, fit, tokens)

Inputs are found by kind; only `evaluation` is needed. The artifact holds report.html, gates.json, and copies of
report.json and timings.json, so that it can be read alone. Measuring is another step (harness.py): changing a gate
or a title measures nothing anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from pydantic import field_validator

from genwerk.core.artifact import Artifact, Source
from genwerk.core.atomic import write_json, write_text
from genwerk.core.config import Config, Field
from genwerk.core.errors import WorkspaceError
from genwerk.evaluation.artifacts import Inputs
from genwerk.evaluation.data_section import data_section
from genwerk.evaluation.gates import GateResult, check_gates, parse_gates, results_to_json
from genwerk.evaluation.measures import Measure, flatten
from genwerk.evaluation.report_sections import Evidence, sections
from genwerk.evaluation.wording import gate_cards, headline_cards, limits, verdict

__all__ = ["ReportConfig", "render", "write_report"]

_TEMPLATE = Path(__file__).with_name("report.html.jinja")


class ReportConfig(Config):
    """How a report is headed and which gates decide promotion."""

    title: str = Field("Evaluation", description="heading of the report, usually the recipe's name")
    gates: tuple[str, ...] = Field((), description="conditions such as `citations.valid == 1.0`; all must hold")

    @field_validator("gates")
    @classmethod
    def _known(cls, gates: tuple[str, ...]) -> tuple[str, ...]:
        parse_gates(gates)
        return gates


class _Step(Protocol):
    @property
    def out(self) -> Path: ...


def write_report(config: ReportConfig, step: _Step, *inputs: Artifact | Source) -> Mapping[str, float | int | str]:
    """Write report.html, gates.json, report.json and timings.json; returns the number of gates passed and failed."""
    given = Inputs.of(inputs)
    evaluation = given.need("evaluation", measure="report").path
    report, timings = _read_json(evaluation / "report.json"), _read_json(evaluation / "timings.json")
    evidence = gather(given, report, timings)
    results = check_gates(parse_gates(config.gates), flatten(evidence.measures.values()))
    write_json(step.out / "report.json", report)
    write_json(step.out / "timings.json", timings)
    write_json(step.out / "gates.json", results_to_json(results))
    write_text(step.out / "report.html", render(config.title, evidence, results, report))
    failed = sum(not result.passed for result in results)
    return {"gates.passed": len(results) - failed, "gates.failed": failed, "promoted": "no" if failed else "yes"}


def gather(inputs: Inputs, report: Mapping[str, Any], timings: Mapping[str, Any]) -> Evidence:
    """Read what the inputs' files have to say; what is not there stays empty."""
    measures = [Measure.from_json(values) for values in (*report["measures"], *timings["measures"])]
    tokens = inputs.artifact("tokens")
    return Evidence(
        measures={measure.name: measure for measure in measures},
        details=report["details"],
        machine=timings["machine"],
        card=_optional_json(inputs, "dataset", "card.json"),
        pretraining=_curve(inputs, "pretrained") or _curve(inputs, "model"),  # the base may be trained here
        tuning=_curve(inputs, "adapter"),
        bytes_per_token=_bytes_per_token(tokens.path / "meta.json") if tokens else None,
        fusion=_optional_json(inputs, "fit", "fusion.json"),
        abstention=_optional_json(inputs, "abstention", "abstention.json")
        or _optional_json(inputs, "fit", "abstention.json"),
    )


def render(title: str, evidence: Evidence, results: list[GateResult], report: Mapping[str, Any]) -> str:
    """The page as one string: no script, nothing fetched."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    groups = report["groups"]
    settings = report["settings"]
    return template.render(
        title=title,
        style=Markup((_TEMPLATE.parent / "report.css").read_text(encoding="utf-8")),
        summary=f"{len(evidence.measures)} measures of this model on documents it was not trained on. "
        "Every number says how many cases it rests on and how it was measured.",
        verdict=verdict(results),
        cards=gate_cards(results, evidence.measures),
        figures=headline_cards(results, evidence.measures),
        data=data_section(evidence.card) if evidence.card else None,
        **sections(evidence),
        limits=limits(groups, evidence.measures),
        lineage=[{**entry, "content": entry["content"][:16]} for entry in report["inputs"]],
        settings=[(name, _plain(value)) for name, value in settings.items()],
    )


def _plain(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            f"{path.name} cannot be read: {error}", where=str(path), remedy="Run the recipe again."
        ) from error
    if not isinstance(found, dict):
        raise WorkspaceError(f"{path.name} is not a JSON object", where=str(path), remedy="Run the recipe again.")
    return found


def _optional_json(inputs: Inputs, role: str, name: str) -> dict[str, Any] | None:
    artifact = inputs.artifact(role)
    return _read_json(artifact.path / name) if artifact and (artifact.path / name).exists() else None


def _curve(inputs: Inputs, role: str) -> list[Mapping[str, Any]]:
    artifact = inputs.artifact(role)
    if artifact is None or not (artifact.path / "loss.jsonl").exists():
        return []
    lines = (artifact.path / "loss.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _bytes_per_token(meta: Path) -> float | None:
    counts = _read_json(meta)
    return counts["train_bytes"] / counts["train_tokens"] if counts.get("train_tokens") else None
