"""The sections of a report: from measures and artifact files to what the template shows. No files are read here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genwerk.evaluation import plots
from genwerk.evaluation.measures import CATALOGUE, RANKS, RERANKED, RRF, Measure
from genwerk.evaluation.plots import CurvePoint, Dot
from genwerk.evaluation.wording import Row, format_interval, format_value, row

__all__ = ["Evidence", "sections"]

View = dict[str, Any]
_RANK_HEADS = ["hit@1", "hit@5", "nDCG@10"]
_SHOWN_ANSWERS = 4


@dataclass(frozen=True, slots=True)
class Evidence:
    """All a report is made from. Rows and fits are the JSON of the artifacts; None where there is no such artifact.

    bytes_per_token   of the tokens the small model was trained on; turns its loss into bits per byte.
    """

    measures: Mapping[str, Measure]
    details: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] | None = None
    pretraining: Sequence[Mapping[str, Any]] = ()
    tuning: Sequence[Mapping[str, Any]] = ()
    bytes_per_token: float | None = None
    fusion: Mapping[str, Any] | None = None
    abstention: Mapping[str, Any] | None = None

    def group(self, name: str) -> list[Measure]:
        """The measures of a group in the order of the catalogue."""
        return [self.measures[known] for known in CATALOGUE if known.startswith(f"{name}.") and known in self.measures]


def sections(evidence: Evidence) -> View:
    """One entry per section of the template; None for a section without evidence."""
    return {
        "pretraining": _pretraining(evidence),
        "tuning": _tuning(evidence),
        "language": _language(evidence),
        "retrieval": _retrieval(evidence),
        "abstention": _abstention(evidence),
        "answers": _answers(evidence),
        "speed": _speed(evidence),
    }


def _pretraining(evidence: Evidence) -> View | None:
    if not evidence.pretraining:
        return None
    scale = 1 / (math.log(2) * evidence.bytes_per_token) if evidence.bytes_per_token else None
    points = [
        CurvePoint(
            int(entry["step"]),
            entry["loss"] * scale if scale and "loss" in entry else None,
            entry.get("val_bits_per_byte"),
        )
        for entry in evidence.pretraining
    ]
    heldout = [point.heldout for point in points if point.heldout is not None]
    fall = f" On held-out text it went from {heldout[0]:.2f} to {heldout[-1]:.2f}." if len(heldout) > 1 else ""
    return {
        "lead": f"A small decoder learned from your documents alone, beginning with random weights.{fall}",
        "plot": plots.loss_curve(points, name="pretraining", unit="bits per byte", description="Loss of pretraining"),
        "caption": ("Thin line: each step. Thick line: moving average. " if scale else "")
        + "Dots: held-out documents, never trained on.",
    }


def _tuning(evidence: Evidence) -> View | None:
    if not evidence.tuning:
        return None
    points = [CurvePoint(int(entry["step"]), entry.get("loss"), entry.get("val_loss")) for entry in evidence.tuning]
    steps = max(point.step for point in points)
    return {
        "lead": f"A LoRA adapter was trained for {steps:,} steps on questions, passages and cited answers made from "
        "your documents. The loss counts the answer only, not the question or the passages.",
        "plot": plots.loss_curve(points, name="tuning", unit="nats per answer token", description="Loss of tuning"),
        "caption": "Thin line: each step. Thick line: moving average. Dots: examples from held-out documents.",
    }


def _bars(evidence: Evidence, names: Sequence[tuple[str, str]], strong: str) -> list[Dot]:
    found = [(label, evidence.measures[name]) for name, label in names if name in evidence.measures]
    return [Dot(label, item.value, item.low, item.high, item.name == strong) for label, item in found]


def _language(evidence: Evidence) -> View | None:
    rows = [*evidence.group("perplexity"), *evidence.group("pretrained"), *evidence.group("quantised")]
    if not rows:
        return None
    tuned = "perplexity.tuned_bits_per_byte"
    names = [
        ("pretrained.bits_per_byte", "trained here"), ("perplexity.base_bits_per_byte", "base model"), (tuned, "tuned"),
    ]  # fmt: skip
    bits = _bars(evidence, names, tuned)
    tuned = "perplexity.tuned_answer_loss"
    losses = _bars(evidence, [("perplexity.base_answer_loss", "base model"), (tuned, "tuned")], tuned)
    return {
        "lead": "How many bits each model needs for one byte of documents it was not trained on here. Models with "
        "different tokenizers can be compared, because bytes are the same for all.",
        "bits": plots.measure_bars(
            bits, name="bits", unit="bits per byte", description="Bits per byte on held-out documents"
        ) if bits else None,
        "answers": plots.measure_bars(
            losses, name="answerloss", unit="nats per answer token", description="Loss on held-out answers"
        ) if losses else None,
        "rows": [row(item) for item in rows],
        "note": _tuning_note(evidence.measures),
    }  # fmt: skip


def _tuning_note(measures: Mapping[str, Measure]) -> str:
    base, tuned = (measures.get(f"perplexity.{which}_bits_per_byte") for which in ("base", "tuned"))
    if base is None or tuned is None:
        return ""
    moved = tuned.value - base.value
    if moved > 0.0005:
        return (
            f"Tuning raised the bits per byte of raw text by {moved:.3f}: the model predicts documents worse than "
            "before. It was taught to answer from passages, and the loss on answers is what tuning was meant to lower."
        )
    return (
        f"Tuning moved the bits per byte of raw text by {moved:+.3f}. It was meant to lower the loss on answers; raw "
        "text is shown to see that nothing was broken."
    )


def _cells(measures: Mapping[str, Measure], prefix: str) -> list[View]:
    found = [measures.get(f"{prefix}.{rank}") for rank in RANKS]
    return [
        {"value": format_value(item.name, item.value), "interval": format_interval(item)} if item else
        {"value": "–", "interval": ""} for item in found
    ]  # fmt: skip


def _retrieval(evidence: Evidence) -> View | None:
    details = evidence.details.get("retrieval")
    if not details:
        return None
    chosen = details["arm"]
    labels = {"bm25": "BM25", "dense": "dense", "hybrid": "hybrid", RRF: "by ranks", RERANKED: "reranked"}
    arms = [arm for arm in labels if f"retrieval.{arm}.{RANKS[0]}" in evidence.measures]
    panels = {
        head: [
            Dot(labels[arm], item.value, item.low, item.high, arm == chosen)
            for arm in arms
            if (item := evidence.measures.get(f"retrieval.{arm}.{rank}")) is not None
        ]
        for rank, head in zip(RANKS, _RANK_HEADS, strict=True)
    }
    return {
        "lead": f"{details['n']:,} questions were made from held-out documents, so the section each one asks about is "
        f"known. Search ran over all {details['chunks']:,} passages. Served: {labels[chosen]}.",
        "plot": plots.dots(panels, name="retrieval", description="Retrieval by arm with intervals"),
        "head": _RANK_HEADS,
        "arms": [
            {"label": labels[arm], "strong": arm == chosen, "cells": _cells(evidence.measures, f"retrieval.{arm}")}
            for arm in arms
        ],
        "styles": [_style(style) for style in details.get("styles", ())],
        **_fusion(evidence.fusion),
    }


def _style(style: Mapping[str, Any]) -> View:
    measures = {rank: Measure.from_json(style["measures"][rank]) for rank in RANKS}
    cells = [
        {"value": format_value(item.name, item.value), "interval": format_interval(item)} for item in measures.values()
    ]
    return {"label": style["label"], "example": style.get("example", ""), "n": style["n"], "cells": cells}


def _fusion(fusion: Mapping[str, Any] | None) -> View:
    if not fusion:
        return {"fusion": None, "fusion_caption": ""}
    served = {"bm25": 0.0, "dense": 1.0}.get(fusion["arm"], float(fusion["weight"]))
    curve = [(float(point["weight"]), float(point["ndcg"])) for point in fusion["grid"]]
    return {
        "fusion": plots.fusion_curve(
            curve, served, name="fusion", unit="nDCG@10", description="Retrieval quality over fusion weight"
        ),
        "fusion_caption": f"Fitted on {fusion['n_questions']:,} questions about training documents, so these "
        f"values are not the held-out ones above. {fusion['reason']} {_by_ranks(fusion)}".rstrip(),
    }


def _by_ranks(fusion: Mapping[str, Any]) -> str:
    """How the weighted fusion does beside the one by ranks; earlier fits did not ask."""
    if not (ranks := fusion.get("rrf")) or not (gain := fusion.get("over_rrf")):
        return ""
    spread = f"95 % interval {gain['low']:+.3f} to {gain['high']:+.3f}"
    return f"Fused by reciprocal ranks it is {ranks['mean']:.3f}: the weights add {gain['mean']:+.3f}, {spread}."


def _abstention(evidence: Evidence) -> View | None:
    details, fit = evidence.details.get("abstention"), evidence.abstention
    if not details:
        return None
    return {
        "lead": "The assistant should stay silent when no passage holds the answer. Each held-out question was "
        "searched twice: with its document in the index, and with that document taken out.",
        "strips": plots.score_strips(
            details["present"], details["removed"], details["threshold"], name="scores",
            description="Search scores with and without the source",
        ),
        "rows": [row(item) for item in evidence.group("abstention")],
        **_risk(fit),
    }  # fmt: skip


def _risk(fit: Mapping[str, Any] | None) -> View:
    if not fit:
        return {"curve": None, "curve_caption": ""}
    answered, wrong = 1 - fit["false_abstention"], 1 - fit["true_abstention"]
    chosen = (answered, wrong / (answered + wrong)) if answered + wrong else None
    curve = [(float(point["coverage"]), float(point["risk"])) for point in fit["curve"]]
    return {
        "curve": plots.risk_coverage(curve, chosen, name="risk", description="Risk over coverage"),
        "curve_caption": f"Where the threshold was fitted: {fit['n_questions']:,} questions about training documents, "
        "each once with and once without its source. Risk: of the questions answered, the share whose source was gone. "
        "Dot: the threshold in use.",
    }


def _answers(evidence: Evidence) -> View | None:
    details = evidence.details.get("citations")
    if not details:
        return None
    shown = [_answer(sample) for sample in details["answers"]]
    return {
        "lead": f"{len(shown):,} held-out questions were answered by the model with its adapter, as the server would. "
        "Every citation was then cut out of its document again and compared, byte by byte, document hash included.",
        "rows": [row(item) for item in evidence.group("citations")],
        "shown": shown[:_SHOWN_ANSWERS],
        "more": shown[_SHOWN_ANSWERS:],
    }


def _answer(sample: Mapping[str, Any]) -> View:
    tags = []
    if sample["abstained"]:
        tags.append({"text": "stayed silent", "tone": ""})
    if sample["quoted"]:
        tags.append({"text": "best passage quoted", "tone": ""})
    if sample["gold"]:
        tags.append({"text": "cites the right section", "tone": "good"})
    elif not sample["abstained"]:
        tags.append({"text": "cites another section", "tone": "bad"})
    if sample["dropped"]:
        count = sample["dropped"]
        tags.append({"text": f"{count} sentence{'s' if count > 1 else ''} dropped", "tone": ""})
    return {**sample, "tags": tags}


def _speed(evidence: Evidence) -> View | None:
    rows: list[Row] = [row(item) for item in evidence.group("speed")]
    if not rows:
        return None
    return {"lead": f"{_machine_words(evidence.machine)} One request at a time, in float32.", "rows": rows}


def _machine_words(machine: Mapping[str, Any]) -> str:
    if not machine:
        return "Measured on the machine that ran the evaluation."
    cores = f"{machine['cores']} core{'s' if machine['cores'] != 1 else ''} ({machine['cpu']})"
    gpus = ", ".join(machine.get("gpus", ())) or "no GPU"
    return f"Measured on {cores}, {machine['memory_bytes'] / 2**30:.0f} GB of memory, {gpus}."
