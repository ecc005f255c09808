"""Fits search to a collection: fusion weight and abstention threshold, on questions from the training documents.

A dataset that came with questions is fitted on those of its own that are for development.

    index + questions ─ fit_fusion ─ fusion.json ─ fit_abstention (with the arm just chosen) ─ abstention.json
    a reranker that was switched on ─ fit_abstention (with its score) ─ abstention.json, in place of the other

Held-out documents are searched like all others, but no question about them is asked here: they are for evaluation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.workspace import Artifact, Source, Step
from genwerk.data.boolq import load_questions
from genwerk.data.documents import load_documents
from genwerk.data.questions import Question, known_item_questions
from genwerk.retrieval import abstention, fusion
from genwerk.retrieval.mining import MineConfig, questions_of
from genwerk.retrieval.reranked import RerankedSearch, load_reranking
from genwerk.retrieval.reranking import Reranker
from genwerk.retrieval.search import Search, Searcher

__all__ = ["FitConfig", "fit_reranked_abstention", "fit_retrieval"]


class FitConfig(Config):
    """How the search is fitted."""

    n_questions: int = Field(300, ge=10, description="known-item questions from training documents to fit on")
    max_false_abstention: float = Field(
        0.1, ge=0.0, lt=1.0, description="share of answerable questions that may go unanswered"
    )
    confidence: float = Field(0.9, ge=0.5, lt=1, description="that other questions keep to that share too")
    seed: int = Field(0, ge=0, description="which questions are made")


def fit_retrieval(
    config: FitConfig, step: Step, index: Artifact, embedder_dir: Source | Artifact, dataset: Artifact
) -> dict[str, float | int | str]:
    """Write `fusion.json` and `abstention.json` into `step.out`.

    Raises DataError when the training documents give no question.
    """
    started = time.perf_counter()
    questions = [one for one in load_questions(dataset.path) if one.split == "dev"][: config.n_questions]
    questions = questions or known_item_questions(
        load_documents(dataset.path), seed=config.seed, limit=config.n_questions, split="train"
    )
    if not questions:
        raise DataError(
            "no question could be made from the training documents, so the search cannot be fitted",
            where=str(dataset.path),
            remedy="Add documents with titled sections or with whole sentences.",
        )
    with closing(Searcher.open(index.path, embedder_dir.path)) as searcher:
        fitted = fusion.fit_fusion(searcher, questions)
        fitted.save(step.out / fusion.FILE_NAME)
        searcher.fusion = fitted.choice
        silence = _fit_abstention(config, step, searcher, questions)
    return {
        "questions": len(questions),
        "arm": fitted.arm,
        "weight": fitted.weight,
        "ndcg_bm25": fitted.bm25.mean,
        "ndcg_dense": fitted.dense.mean,
        "ndcg_hybrid": fitted.hybrid.mean,
        "ndcg_rrf": fitted.rrf.mean if fitted.rrf else 0.0,
        "abstention_auc": silence.auc,
        "true_abstention": silence.true_abstention,
        "seconds": round(time.perf_counter() - started, 3),
    }


def fit_reranked_abstention(
    config: FitConfig,
    step: Step,
    reranker: Source | Artifact,
    reranking: Artifact,
    index: Artifact,
    embedder_dir: Source | Artifact,
    dataset: Artifact,
    fit: Artifact,
) -> dict[str, float | int | str]:
    """Write the `abstention.json` of a search in which a reranker has the last word.

    Of the development questions, which the reranker never learned from: on others it would be too sure.
    """
    started = time.perf_counter()
    chosen = MineConfig(n_questions=4 * config.n_questions, seed=config.seed)
    questions = questions_of(chosen, dataset, load_documents(dataset.path), "dev")
    with closing(Searcher.open(index.path, embedder_dir.path, fusion.load_fusion(fit.path).choice)) as first:
        search = RerankedSearch(first, Reranker.load(reranker.path), load_reranking(reranking.path).choice)
        silence = _fit_abstention(config, step, search, questions)
    return {
        "questions": len(questions),
        "abstention_auc": silence.auc,
        "true_abstention": silence.true_abstention,
        "seconds": round(time.perf_counter() - started, 3),
    }


def _fit_abstention(
    config: FitConfig, step: Step, search: Search, questions: Sequence[Question]
) -> abstention.Abstention:
    present, removed = abstention.collect_signals(search, questions)
    silence = abstention.fit_abstention(
        present, removed, max_false_abstention=config.max_false_abstention, confidence=config.confidence
    )
    silence.save(step.out / abstention.FILE_NAME)
    return silence
