"""`genwerk index train-reranker`: from a deployment's index, or a folder of documents, to a reranker and a decision.

    index ─ mine ─ lists ─┐
    BoolQ ─ index ─ mine ─┴─ train ─ reranker ─ fit on development questions ─ reranking.json

Every line is a step of the workspace: found where it was made before, resumed where it was killed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from genwerk.alignment.train_reranker import RerankerConfig
from genwerk.core.atomic import explained
from genwerk.core.errors import WorkspaceError
from genwerk.core.workspace import Artifact, Source, Workspace
from genwerk.data.boolq import BoolqConfig
from genwerk.data.prepare import PrepareConfig
from genwerk.data.sources import source_fingerprint
from genwerk.recipe import fetch_source
from genwerk.retrieval.building import IndexConfig
from genwerk.retrieval.fitting import FitConfig
from genwerk.retrieval.mining import MineConfig
from genwerk.retrieval.reranked import FILE_NAME, FOLDER, FitRerankingConfig, Reranking, load_reranking
from genwerk.retrieval.store import FILE_NAME as INDEX

__all__ = [
    "Collection", "TrainedReranker", "boolq_collection", "check_index", "collection_of", "decide", "keep", "mine",
    "train_reranker_for",
]  # fmt: skip

_PREPARE, _INDEX, _FIT = (
    "genwerk.data.prepare:prepare",
    "genwerk.retrieval.building:build_index",
    "genwerk.retrieval.fitting:fit_retrieval",
)
_MINE = "genwerk.retrieval.mining:mine_lists"
_TRAIN = "genwerk.alignment.train_reranker:train_reranker"
_DECIDE = "genwerk.retrieval.reranked:fit_reranked"


@dataclass(frozen=True)
class Collection:
    """What is searched: the dataset, its index, the fusion that was fitted, and the embedder of both."""

    dataset: Artifact
    index: Artifact
    fit: Artifact
    embedder: Source | Artifact


@dataclass(frozen=True)
class TrainedReranker:
    """The model's directory is an artifact; `reranking` says whether it is switched on, and why."""

    reranker: Artifact
    decision: Artifact
    reranking: Reranking


def collection_of(workspace: Workspace, name: str) -> Collection:
    """That of the deployment `name`, or of a folder or file of documents. Raises WorkspaceError, DataError."""
    pin: Mapping[str, str] = workspace.pinned(f"latest-{name}") if not Path(name).exists() else {}
    if pin and {"dataset", "index", "fit", "embedder"} <= pin.keys():
        dataset, index, fit = (workspace.find(pin[part]) for part in ("dataset", "index", "fit"))
        return Collection(dataset, index, fit, fetch_source(pin["embedder"]))
    if not Path(name).exists():
        remedy = "Give a folder of documents, or run a recipe first: `genwerk run RECIPE`."
        raise WorkspaceError(
            f"no deployment with an index is called `{name}`", where=str(workspace.root), remedy=remedy
        )
    dataset = workspace.step(_PREPARE, PrepareConfig(sources=(name,)), source_fingerprint([name]), kind="dataset")
    embedder = fetch_source("minilm")
    index = workspace.step(_INDEX, IndexConfig(max_chars=600), dataset, embedder, kind="index")
    fit = workspace.step(_FIT, FitConfig(), index, embedder, dataset, kind="fit")
    return Collection(dataset, index, fit, embedder)


def boolq_collection(workspace: Workspace, config: BoolqConfig, embedder: Source | Artifact) -> Collection:
    """All of BoolQ's passages indexed, and the fusion fitted on its development questions."""
    dataset = workspace.step("genwerk.data.boolq:prepare_boolq", config, fetch_source("boolq"), kind="dataset")
    index = workspace.step(_INDEX, IndexConfig(max_chars=4000), dataset, embedder, kind="index")
    fitting = FitConfig(n_questions=config.dev)
    return Collection(dataset, index, workspace.step(_FIT, fitting, index, embedder, dataset, kind="fit"), embedder)


def mine(workspace: Workspace, collection: Collection, config: MineConfig) -> Artifact:
    """Ranking lists of a collection's own questions."""
    known = (collection.dataset, collection.fit)
    return workspace.step(_MINE, config, collection.index, collection.embedder, *known, kind="lists")


def decide(workspace: Workspace, collection: Collection, reranker: Artifact, config: FitRerankingConfig) -> Artifact:
    """`reranking.json`: whether the reranker is switched on for this collection, and why."""
    known = (collection.index, collection.embedder, collection.dataset, collection.fit)
    return workspace.step(_DECIDE, config, reranker, *known, kind="reranking")


def train_reranker_for(
    workspace: Workspace, collection: Collection, training: RerankerConfig, mining: MineConfig, *, boolq: bool = True
) -> TrainedReranker:
    """Mine, train and decide. With `boolq` its training questions are learned from as well."""
    lists = [mine(workspace, collection, mining)]
    if boolq:
        lists.append(mine(workspace, boolq_collection(workspace, BoolqConfig(), fetch_source("minilm")), mining))
    body = fetch_source("minilm")
    reranker = workspace.step(_TRAIN, training, body, *lists, kind="reranker")
    decision = decide(workspace, collection, reranker, FitRerankingConfig(seed=mining.seed))
    return TrainedReranker(reranker, decision, load_reranking(decision.path))


def check_index(folder: Path) -> None:
    """Raises WorkspaceError where there is no index in the folder."""
    if not (folder / INDEX).is_file():
        remedy = f"Build it: genwerk index build DOCUMENTS --index {folder}"
        raise WorkspaceError("there is no index", where=str(folder), remedy=remedy)


def keep(workspace: Workspace, name: str, made: TrainedReranker, folder: Path | None = None) -> str:
    """Let it be found: by the recipe `name` when it is run again, and beside the index in `folder`; how, in words.

    Raises WorkspaceError where there is no index in the folder, or it cannot be written.
    """
    if folder is not None:
        check_index(folder)
        part = folder / f".{FOLDER}.part"
        with explained(folder):
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(made.reranker.path, part)
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
            part.rename(folder / FOLDER)
            made.reranking.save(folder / FILE_NAME)
        return f"It stands beside the index: genwerk index search QUESTION --index {folder} --rerank"
    if Path(name).exists():
        return f"For a living index: genwerk index train-reranker {name} --index FOLDER; for a recipe: serve.reranker."
    workspace.pin(f"reranker-{name}", made.reranker.id)
    return f"Run the recipe of `{name}` again: it is measured with the reranker, and served so if that is better."
