"""A recipe with a reranker: silence is fitted on what will be served, with the reranker's score among the signals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from pydoc_data.topics import topics

import pytest

sys.path.append(str(Path(__file__).parents[1] / "serving"))

from tiny_chain import write_encoder

from genwerk.core.workspace import Workspace
from genwerk.models.cross_encoder import new_cross_encoder, save_cross_encoder
from genwerk.recipe import Outcome, load_recipe, run_recipe
from genwerk.retrieval.rewriting import load_rewriting
from genwerk.serving.deployment import load_deployment
from genwerk.serving.searching import parse_search, search

RECIPE = """\
name: second
documents: documents
tokenizer: {{vocab_size: 512}}
base: {{train: {{depth: 1, steps: 6, batch_tokens: 256, context: 64, warmup: 2, eval_every: 3, eval_tokens: 256}}}}
retrieval: {{embed: {root}/encoder, n_questions: 20, rerank: {rerank}, rewrite: {rewrite}}}
evaluate: {{measures: [retrieval, abstention], n_questions: 10}}
gates: ["retrieval.ndcg@10 >= 0"]
serve: {{reranker: cross}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pages of the Python reference, an encoder and a reranker of random weights."""
    folder = tmp_path_factory.mktemp("second")
    texts = {name: text for name, text in sorted(topics.items()) if len(text) < 6000}
    (folder / "documents").mkdir()
    for name in list(texts)[:40]:
        (folder / "documents" / f"{name}.txt").write_text(texts[name], encoding="utf-8")
    write_encoder(folder / "encoder", list(texts.values()))
    save_cross_encoder(new_cross_encoder(folder / "encoder"), folder / "cross", folder / "encoder", window=128)
    return folder


def run(root: Path, rerank: str, rewrite: str = "none") -> tuple[Outcome, Workspace]:
    path, workspace = root / "second.yaml", Workspace(root / "workspace")
    path.write_text(RECIPE.format(root=root, rerank=rerank, rewrite=rewrite), encoding="utf-8")
    return run_recipe(load_recipe(path), workspace), workspace


def test_silence_is_fitted_after_the_reranker_and_served_with_it(root: Path) -> None:
    outcome, workspace = run(root, "always")
    fitted = outcome.parts["abstention"]
    assert {one.kind for one in workspace.lineage(fitted)} >= {"reranker", "reranking", "index", "fit", "dataset"}
    first, second = (
        json.loads((outcome.parts[part].path / "abstention.json").read_text()) for part in ("fit", "abstention")
    )
    details = json.loads((outcome.parts["report"].path / "report.json").read_text())["details"]
    assert details["abstention"]["threshold"] == second["threshold"] != first["threshold"]
    assert first["weights"]["reranker"] == 0.0, "nothing read question and passage together then"
    assert workspace.pinned("serving-second")["abstention"] == fitted.id
    deployment = load_deployment(workspace, "second")
    assert deployment.served()["abstention"].id == fitted.id
    deployment.engine.close()


def test_without_a_reranker_nothing_changes(root: Path) -> None:
    kept, _ = run(root, "always")
    outcome, workspace = run(root, "never")
    assert not {"reranker", "reranking", "abstention"} & outcome.parts.keys()
    assert outcome.parts["fit"].id == kept.parts["fit"].id
    assert "abstention" not in workspace.pinned("serving-second")


def test_rewriting_is_decided_measured_and_served_where_a_recipe_asks_for_it(root: Path) -> None:
    outcome, workspace = run(root, "never", "hyde")
    assert load_rewriting(outcome.parts["rewriting"].path) == "hyde"
    deployment = load_deployment(workspace, "second")
    assert deployment.served()["rewriting"].id == outcome.parts["rewriting"].id
    told = search(deployment, parse_search({"query": "the with statement", "k": 2}))
    plain = search(deployment, parse_search({"query": "the with statement", "k": 2, "rewrite": "none"}))
    assert (told["rewritten"], plain["rewritten"], told["fitted"]["rewrite"]) == ("hyde", "none", "hyde")
    deployment.engine.close()
    decided = run(root, "never", "fitted")[0].parts["rewriting"]
    measured = json.loads((decided.path / "rewriting.json").read_text())
    assert [one["kind"] for one in measured["measured"]] == ["multi-query", "decomposition", "hyde"]
    assert measured["kind"] == "none" or any(one["on"] for one in measured["measured"])
