"""`genwerk index train-reranker`: a cross-encoder for one collection, switched off by itself where it does not help."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from genwerk.commands.options import HERE, WorkspaceOption

__all__ = ["EXAMPLES", "train_reranker_command"]

EXAMPLES = (
    "Examples: `genwerk index train-reranker handbook --minutes 20`, "
    "`genwerk index train-reranker ./docs --no-boolq --index handbook-index`: learn from these documents only, and put "
    "it beside their index"
)


def train_reranker_command(
    name: Annotated[str, typer.Argument(help="Deployment whose index is searched, or a folder of documents.")],
    minutes: Annotated[float, typer.Option(help="Time to train for; 0: as many steps as by default.")] = 20.0,
    boolq: Annotated[
        bool, typer.Option("--boolq/--no-boolq", help="Learn from BoolQ's questions too, or from these documents only.")
    ] = True,
    questions: Annotated[int, typer.Option(min=1, help="Questions for training, of each collection, at most.")] = 4000,
    folder: Annotated[
        Path | None, typer.Option("--index", "-i", help="Living index of the same documents to put it beside.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of questions, their order and the new weights.")] = 0,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Train a reranker on questions made from the documents, and measure whether search is better with it."""
    from genwerk.alignment.train_reranker import RerankerConfig
    from genwerk.core.workspace import Workspace
    from genwerk.recipes.reranking import check_index, collection_of, keep, train_reranker_for
    from genwerk.retrieval.mining import MineConfig

    if folder is not None:
        check_index(folder)  # before anything is trained for it
    opened = Workspace(workspace)
    training = RerankerConfig(minutes=minutes or None, seed=seed)
    mining = MineConfig(n_questions=questions, seed=seed)
    made = train_reranker_for(opened, collection_of(opened, name), training, mining, boolq=boolq)
    sys.stderr.write(f"{made.reranking.reason}\n")
    for depth in made.reranking.depths:
        about = f"w {depth.weight:g}, {depth.tokens:,.0f} tokens a query"
        sys.stderr.write(f"  first {depth.k:3d}: nDCG@10 {depth.ndcg:.3f} ({about})\n")
    sys.stderr.write(f"{keep(opened, name, made, folder)}\n")
    sys.stdout.write(f"{made.reranker.path}\n")
