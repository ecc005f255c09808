"""How a report says a number: with its unit, its interval, how many cases it rests on; and what it does not say."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from genwerk.evaluation.gates import GateResult
from genwerk.evaluation.measures import Measure, definition

__all__ = [
    "Card",
    "Row",
    "Verdict",
    "format_interval",
    "format_value",
    "gate_cards",
    "headline_cards",
    "limits",
    "row",
    "verdict",
]

_HEADLINES = (
    "retrieval.ndcg@10", "citations.valid", "citations.gold", "abstention.when_removed", "perplexity.tuned_answer_loss",
    "speed.first_token_ms", "speed.decode_tokens_per_second",
)  # fmt: skip
_MOST_HEADLINES = 5  # one line of the page
_FORMATS = {"ms": "{:,.0f} ms", "s": "{:.1f} s", "tokens/s": "{:.1f} tokens/s", "citations": "{:.2f}"}


@dataclass(frozen=True, slots=True)
class Row:
    """One measure as a table line."""

    label: str
    value: str
    interval: str
    n: str
    how: str


@dataclass(frozen=True, slots=True)
class Card:
    """One measure as a headline: `tone` is good or bad where a gate stands on it, empty otherwise."""

    label: str
    value: str
    detail: str
    meaning: str
    tone: str = ""
    gate: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All gates in one line. `tone` is good, bad or none."""

    tone: str
    sign: str
    head: str
    text: str


def format_value(name: str, value: float | None) -> str:
    """A number with its unit: shares in per cent, ranks with three digits."""
    if value is None or math.isnan(value):
        return "not measured"
    unit = definition(name).unit
    if unit == "share" and "ndcg" not in name:
        return f"{100 * value:.1f} %".replace(".0 %", " %")
    return _FORMATS.get(unit, "{:.3f}").format(value)


def format_interval(measure: Measure) -> str:
    """`low – high`, with the sign of per cent where there is one; empty without an interval."""
    if measure.low is None or measure.high is None:
        return ""
    low, high = (format_value(measure.name, end) for end in (measure.low, measure.high))
    unit = next((unit for unit in (" %", " ms", " s", " tokens/s") if high.endswith(unit)), "")
    return f"{low.removesuffix(unit)} – {high if unit == ' %' else high.removesuffix(unit)}"


def row(measure: Measure) -> Row:
    """The table line of a measure."""
    how = f"{measure.how}; interval: {measure.spread}" if measure.spread.startswith("95 %") else measure.how
    return Row(
        definition(measure.name).label,
        format_value(measure.name, measure.value),
        format_interval(measure),
        f"{measure.n:,}",
        how,
    )


def gate_cards(results: Sequence[GateResult], measures: Mapping[str, Measure]) -> list[Card]:
    """One card per gate, in the recipe's order."""
    return [_gate_card(result, measures) for result in results]


def headline_cards(results: Sequence[GateResult], measures: Mapping[str, Measure]) -> list[Card]:
    """The measures a reader asks for first, without those that a gate already shows."""
    gated = {_base(result.gate.measure) for result in results}
    shown = [name for name in _HEADLINES if name in measures and name not in gated]
    return [_plain_card(measures[name]) for name in shown[:_MOST_HEADLINES]]


def _base(name: str) -> str:
    return name.removesuffix(".low").removesuffix(".high")


def _gate_card(result: GateResult, measures: Mapping[str, Measure]) -> Card:
    name = result.gate.measure
    about, measure = definition(name), measures.get(_base(name))
    end = ", lower end" if name.endswith(".low") else ", upper end" if name.endswith(".high") else ""
    return Card(
        about.label + end,
        format_value(_base(name), result.value),
        _detail(measure) if measure else "",
        about.meaning,
        "good" if result.passed else "bad",
        str(result.gate),
        result.reason,
    )


def _plain_card(measure: Measure) -> Card:
    about = definition(measure.name)
    return Card(about.label, format_value(measure.name, measure.value), _detail(measure), about.meaning)


def _detail(measure: Measure) -> str:
    interval = format_interval(measure)
    return f"{interval}, n = {measure.n:,}" if interval else f"n = {measure.n:,}"


def verdict(results: Sequence[GateResult]) -> Verdict:
    """Whether the model may be promoted, and what stands in its way."""
    failed = [result for result in results if not result.passed]
    if not results:
        return Verdict("none", "–", "No gates are set.", "Nothing stops promotion; write `gates:` in the recipe.")
    if failed:
        names = ", ".join(definition(result.gate.measure).label.lower() for result in failed)
        head = f"{len(failed)} of {len(results)} gates failed."
        return Verdict(
            "bad", "✕", head, f"The model is not promoted; what was served before stays. In the way: {names}."
        )
    head = "The gate passed." if len(results) == 1 else f"All {len(results)} gates passed."
    return Verdict("good", "✓", head, "The model may be promoted to serving.")


def limits(groups: Collection[str], measures: Mapping[str, Measure]) -> list[str]:
    """What a reader must not conclude from the groups that were evaluated."""
    said = []
    if "retrieval" in groups:
        said.append(
            "Questions were made from the documents by rule; nobody asked them. They share words with their source, "
            "which flatters every search and word search most. Expect less on questions people ask in their own words."
        )
    if "citations" in groups:
        valid = measures.get("citations.valid")
        cases = f" With {valid.n:,} citations checked, this run could not have seen a rare fault." if valid else ""
        said.append(
            "A valid citation is a quotation that stands in the document, letter by letter. It does not show that the "
            f"answer is right, complete, or drawn from the best place.{cases}"
        )
        said.append(
            "A sentence is kept when its words overlap a passage enough. A wrong conclusion in the words of a right "
            "passage gets through."
        )
    if "abstention" in groups:
        said.append(
            "Silence was tested by removing the one document a question was made from. Another document may answer it "
            "too; answering then counts against the assistant although it may be right."
        )
    if "perplexity" in groups:
        said.append(
            "The base model was trained elsewhere and may have read public documents, yours among them, before it came "
            "here. For it, held out means only: not used for training in this workspace."
        )
        said.append(
            "Bits per byte tell how well running text is predicted. They do not tell whether answers are good, and "
            "tuning on answers may raise them."
        )
    if "speed" in groups:
        said.append(
            "Speed was measured with one request at a time on the machine named above, while nothing else was asked of "
            "the model. Under load, answers wait for each other."
        )
    said.append(
        "Documents are held out whole, together with those that share paragraphs with them. What one says in other "
        "words, another may have taught. Guards against injection and personal data are not measured here."
    )
    return said
