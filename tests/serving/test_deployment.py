"""Contract of a deployment: read from its pin, named as people expect, and clear about what is missing."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import tiny_chain
from rich.console import Console

from genwerk.alignment.distill import DistillConfig, distill_draft
from genwerk.core.errors import GenwerkError, RequestError, WorkspaceError
from genwerk.core.types import Message, Request, Sampling, Verdict
from genwerk.core.workspace import Source, Workspace
from genwerk.inference.quantisation.config import QuantiseConfig
from genwerk.models.cross_encoder import new_cross_encoder, save_cross_encoder
from genwerk.models.decoder_config import Window
from genwerk.monitoring.answers import AnswerLog
from genwerk.recipe import quantise_model
from genwerk.retrieval.reranked import FitRerankingConfig, KeepRerankerConfig
from genwerk.serving import deployment
from genwerk.serving.assistant import Ask, Assistant, Found
from genwerk.serving.browse import Browser
from genwerk.serving.deployment import Deployment, find_encoder, load_deployment
from genwerk.serving.runs import MAX_POINTS, Runs, read_curve
from genwerk.serving.searching import parse_search, search
from genwerk.serving.terminal import chat_in_terminal, choose_adapter


def test_the_pin_decides_what_is_served(tiny_workspace: Workspace, tiny_deployment: Deployment) -> None:
    pinned = tiny_workspace.pinned(f"serving-{tiny_chain.NAME}")
    assert {part: artifact.id for part, artifact in tiny_deployment.artifacts.items()} == {
        part: pinned[part] for part in ("dataset", "model", "adapter", "index", "fit", "report")
    }
    assert tiny_deployment.default_model == tiny_chain.NAME in tiny_deployment.engine.adapters
    assert tiny_deployment.guards.names[:2] == ("input.injection", "input.pii")
    assert tiny_deployment.count("documents") == len(tiny_chain.TOPICS) + 1
    assert 0 < len(tiny_deployment.questions) <= 4


def test_the_fingerprint_is_hashed_once_and_is_that_of_the_parts(
    tiny_deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed, digest = list[object](), deployment.digest
    monkeypatch.setattr(deployment, "digest", lambda parts: hashed.append(parts) or digest(parts))
    artifacts = dict(tiny_deployment.artifacts)
    same, other = replace(tiny_deployment), replace(tiny_deployment, artifacts={**artifacts, "fit": artifacts["model"]})
    assert {same.fingerprint for _ in range(3)} == {
        tiny_deployment.fingerprint
    } and other.fingerprint != same.fingerprint
    assert 2 <= len(hashed) <= 3


def test_a_model_alone_is_served_without_documents(tiny_workspace: Workspace) -> None:
    pinned = tiny_workspace.pinned(f"serving-{tiny_chain.NAME}")
    tiny_workspace.pin("serving-bare", {"model": pinned["model"], "guards": {"input_pii": "off"}})
    bare = load_deployment(tiny_workspace, "bare")
    assert bare.index is None and bare.default_model == "bare-base"
    assert "input.pii" not in bare.guards.names
    with pytest.raises(RequestError, match="no documents"):
        bare.answerer(lambda request: iter(()), *[lambda text: Verdict(True, text, "output", "")] * 2)
    assert Browser(bare).info(keys=False)["grounded"] is False


def test_a_quantised_model_is_served_under_the_deployment_s_name(tiny_workspace: Workspace) -> None:
    pinned = tiny_workspace.pinned(f"serving-{tiny_chain.NAME}")
    loose = {"most_kl": 9.0, "most_rise": 9.0, "length": 32, "windows": 8, "check_length": 32}
    made = quantise_model(
        tiny_workspace,
        QuantiseConfig.parse(loose),
        model=pinned["model"],
        dataset=pinned["dataset"],
        adapter=pinned["adapter"],
    )
    assert made.parents == (pinned["model"], pinned["dataset"], pinned["adapter"])
    parts = {part: pinned[part] for part in ("model", "adapter")}
    tiny_workspace.pin("serving-small", {**parts, "quantised": made.id, "serve": {"precision": "int4"}})
    small = load_deployment(tiny_workspace, "small")
    assert small.default_model == "small" and small.engine.adapters == ()
    assert small.engine.runner.precision == "int4"
    assert set(small.served(grounded=False, adapter=False)) == {"model", "quantised"}
    assert Browser(small).models()["data"][0]["genwerk"]["artifact"] == made.id


def test_a_draft_made_for_the_deployment_changes_no_answer(
    tiny_workspace: Workspace, tiny_deployment: Deployment
) -> None:
    pinned = tiny_workspace.pinned(f"serving-{tiny_chain.NAME}")
    model, adapter, dataset = (tiny_workspace.find(pinned[part]) for part in ("model", "adapter", "dataset"))
    config = DistillConfig(depth=1, words=128, texts=6, own_tokens=8, context=64, steps=4, eval_texts=2)
    draft = tiny_workspace.step(distill_draft, config, model, dataset, adapter, kind="draft")
    bare = {"model": model.id, "adapter": adapter.id}
    tiny_workspace.pin("serving-plain", bare)
    tiny_workspace.pin("serving-ahead", bare | {"draft": draft.id})
    tiny_workspace.pin("serving-noted", bare | {"serve": {"draft": str(draft.path)}})
    request = Request((Message("user", "What does assert do?"),), Sampling(max_tokens=40))
    plain, *others = (load_deployment(tiny_workspace, name) for name in ("plain", "ahead", "noted"))
    wanted = plain.engine.generate(replace(request, adapter="plain"))
    for one in others:
        assert one.engine._draft is not None
        assert one.engine.generate(replace(request, adapter=one.name)).tokens == wanted.tokens
    assert tiny_deployment.engine._draft is None


def test_nothing_promoted_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"genwerk run other\.yaml"):
        load_deployment(Workspace(tmp_path), "other")


def test_a_lost_embedding_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="gone"):
        find_encoder(str(tmp_path / "none"))
    assert find_encoder(str(tmp_path)) == (tmp_path.name, tmp_path)


@pytest.mark.parametrize("lost", [{"embedder": "/nowhere"}, {"serve": {"reranker": "/nowhere"}}])
def test_engines_are_closed_where_the_rest_cannot_be_loaded(
    lost: dict[str, Any], tiny_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Mock(adapters=())
    monkeypatch.setattr(deployment, "open_engines", lambda *_: engine)
    tiny_workspace.pin("serving-lost", {**tiny_workspace.pinned(f"serving-{tiny_chain.NAME}"), **lost})
    with pytest.raises(WorkspaceError, match="gone"):
        load_deployment(tiny_workspace, "lost")
    engine.close.assert_called_once_with()


def test_documents_that_may_not_be_seen_are_not_found(
    tiny_deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    index: Any = tiny_deployment.index
    identity = index.document_ids[0]
    assert tiny_deployment.document(identity).id == identity
    monkeypatch.setattr(index, "may_see", lambda identity, groups=(): False)
    with pytest.raises(RequestError, match="no document"):
        tiny_deployment.document(identity)


def test_a_long_curve_keeps_its_ends_and_every_validation(tmp_path: Path) -> None:
    rows = [f'{{"step": {step}, "loss": 1.0{", " + chr(34) + "val_x" + chr(34) + ": 2" if step % 100 == 7 else ""}}}'
            for step in range(5000)]  # fmt: skip
    (tmp_path / "loss.jsonl").write_text("\n".join(rows))
    found = read_curve(tmp_path / "loss.jsonl")
    assert found[0]["step"] == 0 and found[-1]["step"] == 4999 and len(found) <= MAX_POINTS + 51
    assert sum("val_x" in row for row in found) == 50
    assert read_curve(tmp_path / "none.jsonl") == []


def test_runs_show_curves_gates_and_what_is_served(tiny_deployment: Deployment) -> None:
    reader = Runs(tiny_deployment.workspace, lambda: {one.id for one in tiny_deployment.served().values()})
    runs = {run["id"]: run for run in reader.runs()["data"]}
    report = runs[tiny_deployment.artifacts["report"].id]
    assert report["gates"]["passed"] and report["report"] and not report["serving"]
    assert {run["kind"] for run in runs.values() if run["serving"]} == {"model", "adapter", "index", "fit", "dataset"}
    model = reader.run(tiny_deployment.artifacts["model"].id)
    assert model["curve"] and {parent["kind"] for parent in model["lineage"]} >= {"dataset", "tokenizer"}


def test_the_terminal_shows_answer_and_sources(tiny_workspace: Workspace, question: str) -> None:
    out = io.StringIO()
    chat_in_terminal(tiny_workspace, tiny_chain.NAME, question=question, console=Console(file=out, width=160))
    assert "[1]" in out.getvalue() and "documents/" in out.getvalue() and "genwerk trace ans-" in out.getvalue()


def test_an_adapter_is_chosen_by_name(tiny_deployment: Deployment) -> None:
    assert choose_adapter(tiny_deployment, "") == tiny_chain.NAME
    assert choose_adapter(tiny_deployment, "none") is None
    with pytest.raises(GenwerkError, match="handbook, none"):
        choose_adapter(tiny_deployment, "other")


def test_prefixes_are_kept_where_the_recipe_says_so(tiny_workspace: Workspace) -> None:
    pinned = tiny_workspace.pinned(f"serving-{tiny_chain.NAME}")
    tiny_workspace.pin("serving-keeping", {"model": pinned["model"], "serve": {"keep_prefixes": True}})
    request = Request((Message("user", "the same beginning " * 30),), Sampling(max_tokens=2))
    first = load_deployment(tiny_workspace, "keeping").engine
    told = first.generate(request)
    first.save_cache()
    again = load_deployment(tiny_workspace, "keeping").engine
    assert again.blocks.known() and again.generate(request).tokens == told.tokens
    assert (tiny_workspace.root / "prefixes" / "keeping.kv").exists()


def test_a_model_is_served_with_the_window_and_the_cache_its_pin_names(tiny_workspace: Workspace) -> None:
    pinned = tiny_workspace.pinned(f"serving-{tiny_chain.NAME}")
    serve = {"engine": "native", "precision": "int8", "cache_precision": "int8", "window": 64, "sinks": 4}
    tiny_workspace.pin("serving-windowed", {"model": pinned["model"], "serve": serve})
    engine = load_deployment(tiny_workspace, "windowed").engine
    assert engine.runner.config.view == Window(64, 4)
    assert "cache int8" in engine.title and "window 64" in engine.title
    assert engine.generate(Request((Message("user", "a beginning " * 40),), Sampling(max_tokens=4))).tokens


def test_a_reranker_that_was_decided_on_has_the_last_word(tiny_workspace: Workspace, tmp_path: Path) -> None:
    ids, step = tiny_workspace.pinned("serving-handbook"), tiny_workspace.step
    encoder = Source.of_folder(ids["embedder"], Path(ids["embedder"]))
    save_cross_encoder(new_cross_encoder(encoder.path), tmp_path / "cross", encoder.path, window=100)
    source = Source.of_folder("cross", tmp_path / "cross")
    keeping = KeepRerankerConfig(name="cross")
    kept = step("genwerk.retrieval.reranked:keep_reranker", keeping, source, kind="reranker")
    index, dataset, fit = (tiny_workspace.find(ids[part]) for part in ("index", "dataset", "fit"))
    deciding = FitRerankingConfig(n_questions=3, depth=5, always=True)
    known = (kept, index, encoder, dataset, fit)
    decided = step("genwerk.retrieval.reranked:fit_reranked", deciding, *known, kind="reranking")
    tiny_workspace.pin("serving-second", {**ids, "reranker": kept.id, "reranking": decided.id})
    second = load_deployment(tiny_workspace, "second")
    assert second.reranker_name == "second-reranker" and second.reranker.window == 100  # type: ignore[union-attr]
    assert {"reranker", "reranking"} <= second.served().keys()
    found = search(second, parse_search({"query": "the with statement", "k": 3}))
    assert found["reranked"] and found["data"][0]["arm"] == "reranked"
    asked = Ask((Message("user", second.questions[0]),), Sampling(max_tokens=4))
    events = Assistant(second, AnswerLog(Path(":memory:"))).answer(asked)
    passages = next(event.passages for event in events if isinstance(event, Found))
    assert passages[0].result.source == "reranked"
    second.engine.close()
