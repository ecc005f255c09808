"""Gates: the grammar, what passes, and that silence never passes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.errors import ConfigError
from genwerk.evaluation.gates import all_passed, check_gates, parse_gate, parse_gates, results_to_json
from genwerk.evaluation.measures import CATALOGUE, Measure, flatten, known_names
from genwerk.evaluation.report import ReportConfig


@pytest.mark.parametrize(
    ("text", "value", "passes"),
    [
        ("citations.valid == 1.0", 1.0, True),
        ("citations.valid == 1.0", 0.9999999, False),
        ("retrieval.ndcg@10>=0.6", 0.6, True),
        ("retrieval.ndcg@10 > 0.6", 0.6, False),
        ("perplexity.tuned_bits_per_byte <= 1.2", 1.21, False),
        ("abstention.false < 1e-1", 0.05, True),
        ("  speed.first_token_ms <= 2500 ", 1800.0, True),
    ],
)
def test_a_gate_compares_exactly(text: str, value: float, passes: bool) -> None:
    gate = parse_gate(text)
    [result] = check_gates([gate], {gate.measure: value})
    assert result.passed is passes
    assert result.value == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "citations.valid",
        "citations.valid = 1",
        "citations.valid >= much",
        "1 < citations.valid",
        "citations.valid == 1.0 and x > 2",
    ],
)
def test_a_sentence_outside_the_grammar_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="measure op number"):
        parse_gate(text)


def test_an_unknown_measure_is_refused_with_the_nearest_name_and_its_place() -> None:
    with pytest.raises(ConfigError, match=r"`citation.valid` is not a known measure \(gates\[1\]\).*`citations.valid`"):
        parse_gates(["retrieval.hit@1 > 0", "citation.valid == 1"])


def test_the_report_config_refuses_a_bad_gate_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean `retrieval\.ndcg@10`"):
        ReportConfig(gates=("retrieval.ndcg10 >= 0.6",))


def test_a_measure_that_was_not_evaluated_fails_its_gate_and_says_so() -> None:
    [missing] = check_gates(["retrieval.hit@1 >= 0"], {})
    assert not missing.passed
    assert "was not evaluated" in missing.reason
    [nothing] = check_gates(["citations.valid <= 1"], {"citations.valid": math.nan})
    assert not nothing.passed
    assert "no case" in nothing.reason


def test_a_gate_may_ask_for_the_end_of_an_interval() -> None:
    measures = flatten([Measure.share("citations.gold", 8, 10, "")])
    low, value = check_gates(["citations.gold.low >= 0.75", "citations.gold >= 0.75"], measures)
    assert (low.passed, value.passed) == (False, True)


def test_no_gates_promote_and_one_failure_does_not() -> None:
    assert all_passed([])
    results = check_gates(["citations.valid == 1", "citations.gold >= 0.5"], {"citations.valid": 1.0})
    saved = results_to_json(results)
    assert saved["passed"] is False
    assert [row["passed"] for row in saved["results"]] == [True, False]  # type: ignore[attr-defined]


@given(st.sampled_from(known_names()), st.sampled_from(["==", ">=", "<=", ">", "<"]), st.floats(-1e6, 1e6))
def test_every_known_measure_with_every_operator_reads_back_as_written(name: str, op: str, bound: float) -> None:
    gate = parse_gate(f"{name} {op} {bound!r}")
    assert (gate.measure, gate.op, gate.bound) == (name, op, bound)
    assert check_gates([gate], {name: bound})[0].passed is (op in ("==", ">=", "<="))


def test_every_measure_says_what_it_means() -> None:
    for name, definition in CATALOGUE.items():
        assert definition.meaning.endswith("."), name
        assert definition.label[0].isupper() or definition.label.startswith("dense") or "(" in definition.label, name


def test_wilson_interval_of_the_textbook() -> None:
    """Newcombe (1998), table II, method 3: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611."""
    measure = Measure.share("citations.gold", 81, 263, "")
    assert (measure.low, measure.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    empty = Measure.share("citations.gold", 0, 20, "")
    assert (empty.low, empty.high) == pytest.approx((0.0, 0.1611), abs=1e-4)
    full = Measure.share("citations.gold", 29, 29, "")
    assert (full.low, full.high) == pytest.approx((0.8831, 1.0), abs=1e-4)


def test_a_measure_survives_json_even_without_a_value() -> None:
    for measure in (Measure.share("citations.gold", 3, 4, "how"), Measure.share("citations.gold", 0, 0, "how")):
        again = Measure.from_json(measure.to_json())
        assert again.to_json() == measure.to_json()
