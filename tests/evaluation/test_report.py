"""The report: from artifact files to one self-contained page and gates.json."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from genwerk.core.artifact import Artifact, Source
from genwerk.core.errors import WorkspaceError
from genwerk.core.types import ARMS
from genwerk.evaluation.artifacts import Inputs
from genwerk.evaluation.data_section import data_section
from genwerk.evaluation.measures import RANKS, Measure
from genwerk.evaluation.report import ReportConfig, write_report

HOSTILE = '<script>alert("x")</script>'


@dataclass
class Step:
    out: Path


def artifact(root: Path, kind: str, files: dict[str, Any]) -> Artifact:
    path = root / kind
    path.mkdir(parents=True)
    for name, value in files.items():
        text = "".join(json.dumps(row) + "\n" for row in value) if name.endswith("l") else json.dumps(value)
        (path / name).write_text(text, encoding="utf-8")
    return Artifact(f"{kind:0<16}"[:16], kind, path, (), {}, {}, "", {}, "", "")


def measure(name: str, value: float) -> dict[str, object]:
    return Measure(name, value, 20, "in a test", value - 0.05, value + 0.05, "95 % bootstrap").to_json()


def full_evaluation() -> dict[str, Any]:
    ranks = [measure(f"retrieval.{rank}", 0.7) for rank in RANKS]
    ranks += [measure(f"retrieval.{arm}.{rank}", 0.6) for arm in ARMS for rank in RANKS]
    bits = [measure(f"perplexity.{which}_bits_per_byte", 1.0) for which in ("base", "tuned")]
    losses = [measure(f"perplexity.{which}_answer_loss", 1.0) for which in ("base", "tuned")]
    shares = [
        Measure.share(name, 19, 20, "in a test").to_json() for name in ("citations.valid", "abstention.when_removed")
    ]
    citation = {"number": 1, "text": HOSTILE, "source": "a.md", "start": 1, "end": 9, "sha256": "ab", "valid": False}
    answer = {"question": HOSTILE, "abstained": False, "quoted": True, "gold": False, "dropped": 2,
              "parts": [{"text": HOSTILE, "number": 1}], "citations": [citation]}  # fmt: skip
    by_rank = {rank: measure(f"retrieval.{rank}", 0.7) for rank in RANKS}
    style = {"label": "by title", "example": HOSTILE, "n": 20, "measures": by_rank}
    return {
        "groups": ["perplexity", "retrieval", "citations", "abstention", "speed"],
        "measures": [*bits, *losses, measure("pretrained.bits_per_byte", 2.0), *ranks, *shares],
        "details": {
            "retrieval": {"arm": "hybrid", "n": 20, "chunks": 90, "styles": [style]},
            "abstention": {"present": [0.5, 0.7], "removed": [0.1, 0.3], "threshold": 0.4},
            "citations": {"answers": [answer] * 6},
        },
        "settings": {"n_questions": 20, "measures": ["retrieval"]},
        "inputs": [{"role": "model", "id": "m" * 16, "content": "c" * 64}],
    }


CARD = {
    "documents": 3, "characters": 300, "bytes": 310,
    "by_suffix": {".md": {"documents": 3, "characters": 300, "bytes": 310}},
    "by_split": {"heldout": {"documents": 1, "characters": 90, "bytes": 90}}, "dropped": {"empty": 2}, "changed": {},
    "inputs": [{"source": HOSTILE, "files": 3, "bytes": 310, "sha256": "d" * 64}],
}  # fmt: skip


def everything(root: Path) -> list[Artifact]:
    machine = {"cores": 2, "cpu": "some", "memory_bytes": 2**33, "gpus": []}
    timings = {"measures": [measure("speed.first_token_ms", 900.0)], "machine": machine}
    curve = [{"step": step, "loss": 5.0 - step / 10, "lr": 0.1} for step in range(1, 9)]
    return [
        artifact(root, "evaluation", {"report.json": full_evaluation(), "timings.json": timings}),
        artifact(root, "dataset", {"card.json": CARD}),
        artifact(root, "pretrained", {"loss.jsonl": [{"step": 0, "val_bits_per_byte": 3.0}, *curve]}),
        artifact(root, "adapter", {"loss.jsonl": curve}),
        artifact(root, "tokens", {"meta.json": {"train_bytes": 300, "train_tokens": 100}}),
    ]


def write(root: Path, inputs: list[Artifact], **config: Any) -> tuple[Path, dict[str, Any]]:
    out = root / "out"
    out.mkdir()
    metrics = write_report(ReportConfig(**config), Step(out), *inputs)
    return out, dict(metrics)


def test_the_page_is_whole_and_fetches_nothing(tmp_path: Path) -> None:
    out, _ = write(tmp_path, everything(tmp_path), title="handbook", gates=("citations.valid == 1.0",))
    text = (out / "report.html").read_text(encoding="utf-8")
    page = html.fromstring(text)
    for name in ("data", "pretraining", "tuning", "language", "retrieval", "abstention", "answers", "speed", "limits"):
        assert page.get_element_by_id(name) is not None
    assert len(page.findall(".//svg")) >= 6
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert "handbook" in page.findtext(".//title")


def test_nothing_from_documents_is_run_by_the_browser(tmp_path: Path) -> None:
    out, _ = write(tmp_path, everything(tmp_path), title=HOSTILE)
    assert "<script" not in (out / "report.html").read_text(encoding="utf-8").lower()


def test_gates_decide_and_are_saved_with_their_reasons(tmp_path: Path) -> None:
    gates = (
        "citations.valid == 1.0",
        "retrieval.ndcg@10 >= 0.6",
        "abstention.false <= 0.1",
        "speed.first_token_ms < 2e3",
    )
    out, metrics = write(tmp_path, everything(tmp_path), gates=gates)
    saved = json.loads((out / "gates.json").read_text())
    assert [row["passed"] for row in saved["results"]] == [False, True, False, True]
    assert "not evaluated" in saved["results"][2]["reason"]
    assert metrics == {"gates.passed": 2, "gates.failed": 2, "promoted": "no"}
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "2 of 4 gates failed" in text and "DOES NOT RE-SLICE" in text


def test_the_same_inputs_give_the_same_page(tmp_path: Path) -> None:
    one, _ = write(tmp_path / "a", everything(tmp_path / "a"))
    two, _ = write(tmp_path / "b", everything(tmp_path / "b")[::-1])
    for name in ("report.html", "report.json", "gates.json", "timings.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_run_without_most_parts_still_has_a_report(tmp_path: Path) -> None:
    bare = {"groups": ["retrieval"], "measures": [], "details": {}, "settings": {}, "inputs": []}
    evaluation = artifact(
        tmp_path, "evaluation", {"report.json": bare, "timings.json": {"measures": [], "machine": {}}}
    )
    out, metrics = write(tmp_path, [evaluation])
    assert metrics["promoted"] == "yes"
    assert "No gates are set" in (out / "report.html").read_text(encoding="utf-8")


def test_a_spoilt_record_is_named(tmp_path: Path) -> None:
    inputs = everything(tmp_path)
    (inputs[0].path / "report.json").write_text("{", encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"report\.json cannot be read"):
        write(tmp_path, inputs)


def test_inputs_are_found_by_kind_in_any_order(tmp_path: Path) -> None:
    one, two = artifact(tmp_path, "model", {}), artifact(tmp_path, "index", {})
    source = Source("minilm", tmp_path, "e" * 64)
    inputs = Inputs.of([source, two, one])
    assert [role for role, _ in inputs] == ["model", "index", "embedder"]
    assert inputs.lineage() == Inputs.of([one, source, two]).lineage()
    with pytest.raises(WorkspaceError, match=r"`citations` cannot be evaluated without .*`fit`"):
        inputs.need("fit", measure="citations")
    with pytest.raises(WorkspaceError, match="two inputs of kind `model`"):
        Inputs.of([one, one])
    with pytest.raises(WorkspaceError, match="Did you mean `dataset`"):
        Inputs.of([artifact(tmp_path, "datasets", {})])


def test_long_tables_of_the_data_card_say_what_they_leave_out() -> None:
    card = {**CARD, "dropped": {f"rule {number}": number for number in range(1, 31)}}
    tables = {table["title"]: table["rows"] for table in data_section(card)["tables"]}
    assert tables["What was done to it"][-1][0] == "… and 18 more"
    assert len(tables["What was done to it"]) == 13
