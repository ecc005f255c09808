"""The harness over a small whole chain: real steps, random encoder, a decoder of a few steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_chain import NAME, make_deployment

from genwerk.core.artifact import Artifact, Source
from genwerk.core.errors import ConfigError, ModelError, WorkspaceError
from genwerk.core.workspace import Workspace
from genwerk.data.documents import load_documents
from genwerk.evaluation import divergence, harness
from genwerk.evaluation.artifacts import Inputs
from genwerk.evaluation.assistant import Assistant
from genwerk.evaluation.divergence import allowed_divergence
from genwerk.evaluation.harness import EvaluateConfig
from genwerk.evaluation.measures import CATALOGUE
from genwerk.evaluation.perplexity import held_out_excerpts
from genwerk.evaluation.report import ReportConfig
from genwerk.inference.engine import Engine
from genwerk.inference.quantisation.config import QuantiseConfig
from genwerk.models.cross_encoder import new_cross_encoder, save_cross_encoder
from genwerk.recipe import QUANTISE
from genwerk.retrieval.reranked import FitRerankingConfig, KeepRerankerConfig, fit_reranked, keep_reranker

CONFIG = EvaluateConfig(characters=1200, context=64, n_examples=2, n_questions=6, n_answers=2, max_tokens=8)
EVALUATE = "genwerk.evaluation.harness:evaluate"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_deployment(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def inputs(workspace: Workspace) -> list[Artifact | Source]:
    pin = workspace.pinned(f"serving-{NAME}")
    parts = [workspace.find(pin[part]) for part in ("model", "adapter", "index", "fit", "dataset")]
    encoder = workspace.root.parent / "encoder"
    return [*parts, Source.of_folder("encoder", encoder)]


@pytest.fixture(scope="module")
def evaluation(workspace: Workspace, inputs: list[Artifact | Source]) -> Artifact:
    return workspace.step(EVALUATE, CONFIG, *inputs, kind="evaluation")


def read(artifact: Artifact, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((artifact.path / name).read_text(encoding="utf-8"))
    return found


OF_OTHERS = ("pretrained", "speed", "quantised", "pictures", "sequences", "music", "molecules", "clips", "sound",
             "enlarged", "transfer", "attribute", "retrieval.reranked")  # fmt: skip
"""Measures that this evaluation does not make: a base model's own, those of generators and of a reranker."""


def test_every_measure_that_can_be_made_is_made_and_known(evaluation: Artifact) -> None:
    report, timings = read(evaluation, "report.json"), read(evaluation, "timings.json")
    names = {entry["name"] for entry in (*report["measures"], *timings["measures"])}
    assert names <= set(CATALOGUE)
    assert {name for name in CATALOGUE if not name.startswith(OF_OTHERS)} <= names
    assert all(entry["n"] > 0 and entry["how"] for entry in report["measures"] if entry["value"] is not None)
    assert evaluation.metrics["citations.valid"] == 1.0
    assert (
        evaluation.metrics["perplexity.base_bits_per_byte.low"] <= evaluation.metrics["perplexity.base_bits_per_byte"]
    )


def test_no_time_enters_the_report(evaluation: Artifact) -> None:
    text = (evaluation.path / "report.json").read_text(encoding="utf-8")
    assert "_ms" not in text and "per_second" not in text and str(evaluation.path.parent.parent.parent) not in text


def test_measuring_again_gives_the_same_bytes_and_order_does_not_matter(
    evaluation: Artifact, inputs: list[Artifact | Source], tmp_path: Path
) -> None:
    again = Workspace(tmp_path).step(EVALUATE, CONFIG, *inputs[::-1], kind="evaluation")
    assert (again.path / "report.json").read_bytes() == (evaluation.path / "report.json").read_bytes()


def test_a_killed_evaluation_goes_on_after_its_last_group(
    evaluation: Artifact, inputs: list[Artifact | Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    workspace = Workspace(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(harness, "measure_citations", killed)
        with pytest.raises(KeyboardInterrupt):
            workspace.step(EVALUATE, CONFIG, *inputs, kind="evaluation")
    monkeypatch.setattr(harness, "measure_bits_per_byte", killed)
    monkeypatch.setattr(harness, "measure_retrieval", killed)
    resumed = workspace.step(EVALUATE, CONFIG, *inputs, kind="evaluation")
    assert resumed.files["report.json"] == evaluation.files["report.json"]


def test_the_report_of_the_chain_is_written(
    workspace: Workspace, evaluation: Artifact, inputs: list[Artifact | Source]
) -> None:
    config = ReportConfig(title=NAME, gates=("citations.valid == 1.0", "pretrained.bits_per_byte < 3"))
    report = workspace.step("genwerk.evaluation.report:write_report", config, evaluation, *inputs, kind="report")
    gates = read(report, "gates.json")["results"]
    assert [gate["passed"] for gate in gates] == [True, False]
    page = (report.path / "report.html").read_text(encoding="utf-8")
    for section in ("pretraining", "tuning", "language", "retrieval", "abstention", "answers"):
        assert f'<section id="{section}">' in page
    assert report.files["report.json"] == evaluation.files["report.json"]


def test_a_run_without_an_adapter_measures_the_base_alone_and_gives_its_engine_back(
    inputs: list[Artifact | Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = inputs[0], inputs[4]
    config = CONFIG.model_copy(update={"measures": ("perplexity",)})
    closed = list[Engine]()
    monkeypatch.setattr(Engine, "close", lambda engine: closed.append(engine))
    made = Workspace(tmp_path).step(EVALUATE, config, model, dataset, kind="evaluation")
    assert len(closed) == 1
    names = {entry["name"] for entry in read(made, "report.json")["measures"]}
    assert names == {"perplexity.base_bits_per_byte", "perplexity.base_answer_loss"}


def test_a_quantised_model_is_measured_beside_the_merged_one(inputs: list[Artifact | Source], tmp_path: Path) -> None:
    model, adapter, dataset = inputs[0], inputs[1], inputs[4]
    loose = {"most_kl": 9.0, "most_rise": 9.0, "length": 32, "windows": 8, "check_length": 32}
    rounding, workspace = QuantiseConfig.parse(loose), Workspace(tmp_path)
    small = workspace.step(QUANTISE, rounding, model, dataset, adapter, kind="quantised")
    config = CONFIG.model_copy(update={"measures": ("perplexity",), "precision": "int4"})
    made = workspace.step(EVALUATE, config, model, adapter, small, dataset, kind="evaluation")
    assert 0 < float(made.metrics["quantised.kl"]) < 0.15
    assert {entry["name"] for entry in read(made, "report.json")["measures"]} <= set(CATALOGUE)


def test_a_reranker_is_an_arm_of_its_own_and_serves_where_it_is_switched_on(
    inputs: list[Artifact | Source], tmp_path: Path
) -> None:
    index, fit, dataset, encoder = inputs[2:]
    save_cross_encoder(new_cross_encoder(encoder.path), tmp_path / "cross", encoder.path, window=100)
    workspace, source = Workspace(tmp_path / "work"), Source.of_folder("cross", tmp_path / "cross")
    kept = workspace.step(keep_reranker, KeepRerankerConfig(name="cross"), source, kind="reranker")
    deciding = FitRerankingConfig(n_questions=3, depth=5, always=True)
    decided = workspace.step(fit_reranked, deciding, kept, index, encoder, dataset, fit, kind="reranking")
    config = CONFIG.model_copy(update={"measures": ("retrieval",)})
    made = workspace.step(EVALUATE, config, index, fit, dataset, encoder, kept, decided, kind="evaluation")
    assert made.metrics["retrieval.ndcg@10"] == made.metrics["retrieval.reranked.ndcg@10"]
    assert read(made, "report.json")["details"]["retrieval"]["arm"] == "reranked"


def test_keys_and_values_that_are_rounded_are_measured_too(inputs: list[Artifact | Source], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"measures": ("perplexity",), "cache_precision": "int8"})
    made = Workspace(tmp_path).step(EVALUATE, config, inputs[0], inputs[4], kind="evaluation")
    assert abs(float(made.metrics["quantised.kl"])) < allowed_divergence("float32", "int8")
    (measure,) = (one for one in read(made, "report.json")["measures"] if one["name"] == "quantised.kl")
    assert measure["how"].startswith("float32, cache int8 against float32")


def test_what_is_further_away_than_rounding_explains_is_refused(
    inputs: list[Artifact | Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert allowed_divergence("float32", "auto") == 0
    assert allowed_divergence("int8", "auto") < allowed_divergence("int8", "int8")
    monkeypatch.setattr(divergence, "allowed_divergence", lambda *_: -1.0)
    config = CONFIG.model_copy(update={"measures": ("perplexity",), "cache_precision": "int8"})
    with pytest.raises(ModelError, match="in float32, cache int8 the model is ") as refused:
        Workspace(tmp_path).step(EVALUATE, config, inputs[0], inputs[4], kind="evaluation")
    assert "cache_precision" in refused.value.remedy


def test_whole_texts_are_seen_through_the_window_that_is_served(inputs: list[Artifact | Source]) -> None:
    given, tokens = Inputs.of(inputs), list(range(5, 105))
    window = {"window": 16, "sinks": 2}
    windowed, free = (Assistant(given, max_tokens=8, served=served) for served in (window, {}))
    with torch.no_grad():
        seen, whole = (one.model(torch.tensor([tokens]))[0] for one in (windowed, free))
    served = torch.as_tensor(windowed.engine.logits(tokens))  # type: ignore[attr-defined]
    assert float((seen - served).abs().max()) < 1e-5 < 1e-3 < float((whole - served).abs().max())


def test_a_measure_without_its_input_is_refused_by_name(inputs: list[Artifact | Source], tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"without .*`index`"):
        Workspace(tmp_path).step(EVALUATE, CONFIG, inputs[0], inputs[3], inputs[4], kind="evaluation")


def test_an_unknown_measure_is_refused_when_the_recipe_is_read() -> None:
    with pytest.raises(ConfigError, match="measures"):
        EvaluateConfig.parse({"measures": ["retrieval", "beauty"]})


def test_excerpts_spend_the_budget_over_many_held_out_documents(inputs: list[Artifact | Source]) -> None:
    documents = load_documents(inputs[4].path)
    held_out = {document.id: document.text for document in documents if document.metadata["split"] == "heldout"}
    excerpts = held_out_excerpts(documents, characters=1000, excerpt_characters=300, seed=1)
    assert sum(len(excerpt.text) for excerpt in excerpts) <= 1000
    assert {excerpt.document_id for excerpt in excerpts} <= set(held_out)
    assert len({excerpt.document_id for excerpt in excerpts}) == min(len(held_out), 4)
    assert all(excerpt.text in held_out[excerpt.document_id] for excerpt in excerpts)
    assert excerpts == held_out_excerpts(documents[::-1], characters=1000, excerpt_characters=300, seed=1)
