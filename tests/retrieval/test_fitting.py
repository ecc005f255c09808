"""Fitting prefers the simpler arm in doubt, keeps false silence below its share, and writes down why."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, norm

from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.types import Chunk
from genwerk.data.questions import Question
from genwerk.retrieval import abstention, fusion
from genwerk.retrieval.abstention import fit_abstention, load_abstention
from genwerk.retrieval.fusion import fit_fusion, known_item_gains, load_fusion
from genwerk.retrieval.search import Candidates, Signals


class Scripted:
    """A searcher whose arms rank four chunks as told: (dense, bm25) scores per question."""

    def __init__(self, scores: dict[str, tuple[list[float], list[float]]]) -> None:
        self._chunks, self._scores = tuple(Chunk("d", 10 * n, 10 * n + 10) for n in range(4)), scores

    def candidates(self, query: str) -> Candidates:
        dense, bm25 = (np.array(values) for values in self._scores[query])
        return Candidates(self._chunks, dense, bm25, dict(enumerate(dense)), dict(enumerate(bm25)))

    def rank(self, found: Candidates, arm: str, k: int) -> list[tuple[Chunk, float]]:
        return found.ranked("hybrid", 1.0 if arm == "dense" else 0.0, k)


def question(text: str, gold: int) -> Question:
    return Question(text, "d", 10 * gold + 2, 10 * gold + 5, "train", "title")


def test_hybrid_is_served_where_it_beats_both_beyond_chance(tmp_path: Path) -> None:
    # each arm alone puts a wrong chunk first on every question; the gold is second in both, so it leads together
    scores = {f"q{n}": ([1.0, 0.9, 0.0, 0.0], [0.0, 0.9, 1.0, 0.0]) for n in range(30)}
    fitted = fit_fusion(Scripted(scores), [question(text, 1) for text in scores])  # type: ignore[arg-type]
    assert fitted.arm == "hybrid" and fitted.hybrid.mean == 1.0 and fitted.difference.above_zero
    assert "above 0" in fitted.reason and fitted.choice.weight == fitted.weight
    assert fitted.rrf and fitted.rrf.mean == 0.5, "1/61 + 1/63 > 2/62: by ranks what leads once stands above it"
    assert fitted.over_rrf and fitted.over_rrf.mean == 0.5 and fitted.over_rrf.above_zero
    fitted.save(tmp_path / fusion.FILE_NAME)
    assert load_fusion(tmp_path) == fitted


def test_the_single_arm_is_served_when_hybrid_is_not_better(tmp_path: Path) -> None:
    scores = {f"q{n}": ([0.1, 0.0, 1.0, 0.0], [0.0, 1.0, 0.2, 0.1]) for n in range(30)}
    fitted = fit_fusion(Scripted(scores), [question(text, 1) for text in scores])  # type: ignore[arg-type]
    assert fitted.arm == "bm25" and not fitted.difference.above_zero
    assert "bm25 is served" in fitted.reason and fitted.bm25.mean == 1.0
    assert fitted.rrf and fitted.over_rrf and fitted.rrf.mean < 1.0 and fitted.over_rrf.above_zero
    values = asdict(fitted)
    del values["rrf"], values["over_rrf"]
    (tmp_path / fusion.FILE_NAME).write_text(json.dumps(values))
    assert load_fusion(tmp_path) == replace(fitted, rrf=None, over_rrf=None), "an earlier fit is read"


def test_a_known_item_counts_once_and_by_overlap() -> None:
    chunks = [Chunk("d", 0, 10), Chunk("e", 10, 20), Chunk("d", 10, 20), Chunk("d", 20, 30)]
    assert known_item_gains(chunks, Question("q", "d", 15, 25, "train", "title")) == [0.0, 0.0, 1.0, 0.0]
    assert known_item_gains(chunks, Question("q", "d", 20, 21, "train", "title")) == [0.0, 0.0, 0.0, 1.0]


def signals(values: np.ndarray) -> list[Signals]:
    return [Signals(*(float(value) for value in row)) for row in values]


def test_false_silence_keeps_to_its_share_and_the_file_round_trips(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    present = signals(generator.normal(1.0, 0.5, (200, 5)))
    removed = signals(generator.normal(0.0, 0.5, (200, 5)))
    fitted = fit_abstention(present, removed, max_false_abstention=0.1)
    assert fitted.method == "logistic regression" and fitted.false_abstention <= 0.1
    assert fitted.true_abstention > 0.9
    silent = sum(fitted.abstains(item) for item in present) / len(present)
    assert silent == pytest.approx(fitted.false_abstention, abs=0.02)  # that of the regressions of the folds
    assert [point.coverage for point in fitted.curve] == sorted((p.coverage for p in fitted.curve), reverse=True)
    assert fitted.curve[0].coverage == 1.0 and fitted.curve[0].risk >= fitted.curve[-1].risk
    fitted.save(tmp_path / abstention.FILE_NAME)
    assert load_abstention(tmp_path) == fitted
    assert set(json.loads((tmp_path / abstention.FILE_NAME).read_text())["weights"]) == set(abstention.SIGNALS)


def test_one_signal_is_enough_when_it_separates_alone() -> None:
    rows = np.zeros((40, 5))
    rows[:, 0] = np.linspace(0.6, 0.9, 40)
    gone = rows.copy()
    gone[:, 0] -= 0.5
    fitted = fit_abstention(signals(rows), signals(gone), max_false_abstention=0.0)
    assert fitted.method == "cosine" and fitted.threshold == pytest.approx(0.6)
    assert (fitted.auc, fitted.false_abstention, fitted.true_abstention) == (1.0, 0.0, 1.0)


def test_other_questions_keep_to_the_share_as_often_as_is_promised() -> None:
    generator, below = np.random.default_rng(1), abstention._safely_below(150, 0.1, 0.9)
    thresholds = [abstention._threshold(generator.normal(size=150), below) for _ in range(2000)]
    kept = np.mean(norm.cdf(thresholds) <= 0.1)  # the share of all questions of this kind that stay unanswered
    assert kept + 0.02 >= 0.9 and binom.cdf(below, 150, 0.1) <= 0.1 < binom.cdf(below + 1, 150, 0.1)
    assert abstention._safely_below(20, 0.1, 0.9) == 0 == abstention._safely_below(500, 0.0, 0.9)
    few = fit_abstention(signals(np.eye(5)), signals(np.zeros((5, 5))))
    assert "too few" in few.reason and few.false_abstention == 0.0


def test_no_questions_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no questions"):
        fit_fusion(Scripted({}), [])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no questions"):
        fit_abstention([], [])
    (tmp_path / fusion.FILE_NAME).write_text('{"arm": "hybrid"}')
    (tmp_path / abstention.FILE_NAME).write_text("[]")
    for load in (load_fusion, load_abstention):
        with pytest.raises(WorkspaceError, match="recipe again"):
            load(tmp_path)
