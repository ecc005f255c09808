"""Fitting the fusion weight: how much meaning and how much wording this collection needs.

Source: Bruch, Gai and Ingber (2023), An analysis of fusion functions for hybrid retrieval: one weight of a convex
combination is learnt from few questions and beats rank fusion.

    w* = argmax over w in {0, 0.05, ..., 1} of mean nDCG@10 over the questions

Chosen:   hybrid search is served only if it beats the better single arm beyond chance: the 95 % bootstrap interval of
          the paired differences lies above 0. Otherwise the simpler arm is served, and the file says why.
          What both arms fused by reciprocal ranks would find is measured beside it and serves nobody who does not ask
          for it; the weights have the advantage of having been chosen on these questions.
Left out: a weight per kind of question; learning to rank.
Try it:   genwerk run recipes/quickstart.yaml --no-serve, then read fusion.json in the fit artifact
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from genwerk.core.atomic import write_json
from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.progress import track
from genwerk.core.types import Chunk
from genwerk.data.questions import Question
from genwerk.metrics.bootstrap import Interval, interval, paired_difference
from genwerk.metrics.ranking import first_gain_only, ndcg_at_k
from genwerk.retrieval.search import FusionChoice, Searcher

__all__ = ["FILE_NAME", "Fusion", "WeightScore", "fit_fusion", "known_item_gains", "load_fusion", "overlaps"]

FILE_NAME = "fusion.json"
_K = 10
_WEIGHTS = tuple(step / 20 for step in range(21))


@dataclass(frozen=True, slots=True)
class WeightScore:
    """Mean nDCG@10 of the convex combination at one weight."""

    weight: float
    ndcg: float


@dataclass(frozen=True, slots=True)
class Fusion:
    """What was fitted and why. Intervals are of nDCG@10; `difference` is best hybrid minus better single arm.

    rrf        both arms fused by reciprocal ranks; over_rrf: best hybrid minus that. None in earlier files.
    """

    arm: str
    weight: float
    reason: str
    n_questions: int
    bm25: Interval
    dense: Interval
    hybrid: Interval
    difference: Interval
    grid: tuple[WeightScore, ...]
    rrf: Interval | None = None
    over_rrf: Interval | None = None

    @property
    def choice(self) -> FusionChoice:
        """What a `Searcher` needs of it."""
        return FusionChoice(self.arm, self.weight)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))


def load_fusion(path: Path) -> Fusion:
    """Read fusion.json (or the folder it is in). Raises WorkspaceError when it is missing or damaged."""
    path = path / FILE_NAME if path.is_dir() else path
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values |= {name: Interval(**values[name]) for name in ("bm25", "dense", "hybrid", "difference")}
        values |= {name: Interval(**held) for name in ("rrf", "over_rrf") if (held := values.get(name))}
        values["grid"] = tuple(WeightScore(**item) for item in values["grid"])
        return Fusion(**values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WorkspaceError(
            f"the fusion weight cannot be read: {error!r}", where=str(path), remedy="Run the recipe again."
        ) from error


def overlaps(chunk: Chunk, question: Question) -> bool:
    """Whether the chunk shares at least a character with the span that answers the question."""
    return chunk.document_id == question.document_id and chunk.start < question.end and question.start < chunk.end


def known_item_gains(chunks: Sequence[Chunk], question: Question) -> list[float]:
    """1.0 for the first chunk that overlaps the answer, 0.0 for all others: one item is found once."""
    return first_gain_only([float(overlaps(chunk, question)) for chunk in chunks])


def fit_fusion(searcher: Searcher, questions: Sequence[Question]) -> Fusion:
    """Try every weight on every question. Raises DataError without questions."""
    if not questions:
        raise DataError(
            "there are no questions to fit the search on",
            remedy="The documents need titled sections or whole sentences; a larger collection has more.",
        )
    arms: dict[str, list[float]] = {"bm25": [], "dense": []}
    by_weight: list[list[float]] = [[] for _ in _WEIGHTS]
    by_rank: list[float] = []

    def score(ranked: Sequence[tuple[Chunk, float]], question: Question) -> float:
        return ndcg_at_k(known_item_gains([chunk for chunk, _ in ranked], question), _K, ideal=[1.0])

    with track("fitting the search", total=len(questions), unit="questions") as bar:
        for question in questions:
            found = searcher.candidates(question.text)
            for arm, values in arms.items():
                values.append(score(searcher.rank(found, arm, _K), question))
            by_rank.append(score(found.ranked("hybrid", 0.0, _K, "rrf"), question))
            for weight, values in zip(_WEIGHTS, by_weight, strict=True):
                values.append(score(found.ranked("hybrid", weight, _K), question))
            bar.advance()
    return _choose(arms["bm25"], arms["dense"], by_weight, by_rank)


def _choose(bm25: list[float], dense: list[float], by_weight: list[list[float]], by_rank: list[float]) -> Fusion:
    """The hybrid arm at its best weight, if it is better than both single arms beyond chance."""
    means = [sum(values) / len(values) for values in by_weight]
    best = max(range(len(means)), key=lambda place: (means[place], -abs(_WEIGHTS[place] - 0.5)))
    single, values = max((("bm25", bm25), ("dense", dense)), key=lambda item: sum(item[1]))
    difference = paired_difference(by_weight[best], values)
    spread = f"{difference.mean:+.3f} nDCG@10, 95 % interval {difference.low:+.3f} to {difference.high:+.3f}"
    if difference.above_zero:
        arm, reason = "hybrid", f"Hybrid search beats {single} alone by {spread}, which lies above 0."
    else:
        arm = single
        reason = f"Hybrid search differs from {single} alone by {spread}, which reaches 0 or below: {single} is served."
    return Fusion(
        arm=arm,
        weight=_WEIGHTS[best],
        reason=reason,
        n_questions=len(bm25),
        bm25=interval(bm25),
        dense=interval(dense),
        hybrid=interval(by_weight[best]),
        difference=difference,
        grid=tuple(WeightScore(weight, mean) for weight, mean in zip(_WEIGHTS, means, strict=True)),
        rrf=interval(by_rank),
        over_rrf=paired_difference(by_weight[best], by_rank),
    )
