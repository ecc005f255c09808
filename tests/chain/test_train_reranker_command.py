"""`genwerk index train-reranker` on a folder: from files to a model and a decision, found again by the next run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "training"))
sys.path.append(str(Path(__file__).parents[1] / "alignment"))

from tiny_lists import write_encoder

from genwerk.alignment.train_reranker import RerankerConfig
from genwerk.core.errors import WorkspaceError
from genwerk.core.workspace import Source, Workspace
from genwerk.recipes import reranking
from genwerk.retrieval.mining import MineConfig
from genwerk.retrieval.reranked import load_reranking
from genwerk.retrieval.reranking import Reranker


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Forty pages, each of which tells of three things that stand on no other."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(40):
        parts = [f"# Yard {n}\n"]
        for thing in ("crane", "dock", "mast"):
            parts.append(
                f"## The {thing} of yard{n}\n\nThe {thing}{n} was rebuilt by foreman{n} after storm{n} of March."
            )
        (folder / f"{n}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return folder


def test_a_folder_becomes_a_reranker_and_a_decision(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = write_encoder(tmp_path / "encoder").path
    monkeypatch.setattr(reranking, "fetch_source", lambda spec: Source.of_folder(spec, encoder))
    workspace = Workspace(tmp_path / "work")
    training = RerankerConfig(steps=2, batch=2, negatives=2, max_tokens=40)

    def make() -> reranking.TrainedReranker:
        collection = reranking.collection_of(workspace, str(documents))
        return reranking.train_reranker_for(workspace, collection, training, MineConfig(n_questions=60), boolq=False)

    made = make()
    assert made.reranker.metrics["steps"] == 2 and made.reranking.n_questions > 1
    assert made.reranking.on == made.reranking.gain.above_zero and "nDCG@10" in made.reranking.reason
    assert len(Reranker.load(made.reranker.path).score("crane3", ["The crane3", "The dock2"]).scores) == 2
    lineage = {artifact.kind for artifact in workspace.lineage(made.decision)}
    assert lineage == {"dataset", "index", "fit", "lists", "reranker", "reranking"}
    assert make().decision.id == made.decision.id
    said = reranking.keep(workspace, "handbook", made)
    assert "recipe of `handbook`" in said and workspace.pinned("reranker-handbook")["artifact"] == made.reranker.id
    with pytest.raises(WorkspaceError, match="there is no index"):
        reranking.keep(workspace, str(documents), made, tmp_path)
    (tmp_path / "index.sqlite").touch()
    assert "--rerank" in reranking.keep(workspace, str(documents), made, tmp_path)
    assert load_reranking(tmp_path) == made.reranking and Reranker.load(tmp_path / "reranker").window == 40


def test_what_is_neither_a_deployment_nor_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no deployment with an index"):
        reranking.collection_of(Workspace(tmp_path), "nowhere")
