"""Search whose first passages are put in order anew by a reranker, where that was measured to help.

Sources: Nogueira and Cho (2019), Passage re-ranking with BERT, for the two stages; Bruch, Gai and Ingber (2023) for
adding up what two scorers say; Efron (1979) for the interval.

    s(q, c) = ln( r / (1 - r) ) + w · f(q, c) / max f          for the first k of the search; the others stay behind

r      the reranker's score in (0, 1);  f  the first search's score, its maximum over the first k
k, w   fitted together on development questions: the smallest k that reaches nine tenths of the largest gain

Chosen:   it is switched on only if the 95 % bootstrap interval of the gain in nDCG@10, question by question, lies
          above 0; the gain of each half of the questions is that of the k and w which the other half chose, so that
          the choice itself is not taken for a gain. Signals for abstaining are those of the first search.
Left out: stopping early on easy queries; reranking by a language model.
Try it:   python benchmarks/boolq.py --quick
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np

from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError, RequestError, WorkspaceError
from genwerk.core.progress import say, track
from genwerk.core.types import Retrieved
from genwerk.core.workspace import Artifact, Source, Step
from genwerk.data.documents import load_documents
from genwerk.data.questions import Question
from genwerk.metrics.bootstrap import Interval, interval, paired_difference
from genwerk.metrics.ranking import first_gain_only, ndcg_at_k
from genwerk.retrieval.fusion import load_fusion, overlaps
from genwerk.retrieval.mining import MineConfig, log_odds, questions_of
from genwerk.retrieval.reranking import Reranker, Scored, Scorer
from genwerk.retrieval.search import AS_FITTED, Found, How, Options, Search, Searcher

__all__ = [
    "FILE_NAME", "FOLDER", "FitRerankingConfig", "KeepRerankerConfig", "RerankChoice", "RerankedSearch", "Reranking",
    "fit_reranked", "fit_reranking", "joined_scores", "keep_reranker", "load_reranking", "score_readable",
]  # fmt: skip

FILE_NAME = "reranking.json"
FOLDER = "reranker"  # beside it, where both stand beside an index
_K = 10
_WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_ENOUGH = 0.9  # of the largest gain: what a larger k adds beyond it is not worth its time


@dataclass(frozen=True, slots=True)
class RerankChoice:
    """What a `RerankedSearch` needs: whether, how many passages, and the weight of the first search's score."""

    on: bool = False
    k: int = 20
    weight: float = 8.0


@dataclass(frozen=True, slots=True)
class DepthScore:
    """At one k: its best weight, the mean nDCG@10 there, and the tokens that the reranker reads for a query."""

    k: int
    weight: float
    ndcg: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Reranking:
    """What was fitted and why. Intervals are of nDCG@10; `gain` is that of choices made on the other half."""

    on: bool
    k: int
    weight: float
    reason: str
    arm: str
    n_questions: int
    first: Interval
    reranked: Interval
    gain: Interval
    depths: tuple[DepthScore, ...]

    @property
    def choice(self) -> RerankChoice:
        return RerankChoice(self.on, self.k, self.weight)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))


def load_reranking(path: Path) -> Reranking:
    """Read reranking.json (or the folder it is in). Raises WorkspaceError when it is missing or damaged."""
    path = path / FILE_NAME if path.is_dir() else path
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values |= {name: Interval(**values[name]) for name in ("first", "reranked", "gain")}
        values["depths"] = tuple(DepthScore(**item) for item in values["depths"])
        return Reranking(**values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        remedy = "Train the reranker again: `genwerk index train-reranker`."
        raise WorkspaceError(f"the reranking cannot be read: {error!r}", where=str(path), remedy=remedy) from error


class RerankedSearch(Search):
    """A `Search` with a second stage. Any thread may use it. `options.rerank` overrules what was decided.

    A query that the reranker cannot read beside a passage keeps the order of the first search, which is said once.
    """

    def __init__(self, searcher: Search, scorer: Scorer, choice: RerankChoice) -> None:
        self.searcher, self.scorer, self.choice = searcher, scorer, choice
        self.index, self.embedder, self.fusion = searcher.index, searcher.embedder, searcher.fusion
        self._told = False

    def find(self, query: str, k: int = 8, arm: str | None = None, **how: Unpack[How]) -> Found:
        """See `Search`; `source` of what was reranked is `reranked`, signals are the first search's and its own."""
        options = how.get("options", AS_FITTED)
        if not self._reranks(options):
            return self.searcher.find(query, k, arm, **how)
        how["options"] = replace(options, mmr=None, rerank=None)  # the first search leaves identical texts out
        first = self.searcher.find(query, max(k, self.choice.k), arm, **how)
        head, tail = first.results[: self.choice.k], first.results[self.choice.k :]
        reordered, best = self._reordered(query, head)
        moved = self.arranged(reordered, first, replace(options, distinct=False), k)
        held = first.first or first  # under rewriting that of the question alone
        return replace(moved, results=(*moved.results, *tail)[:k], first=held, reranker=best)

    def as_decided(self, options: Options = AS_FITTED) -> Options:
        """See `Search`."""
        return replace(self.searcher.as_decided(options), rerank=self._reranks(options))

    def _reranks(self, options: Options) -> bool:
        return self.choice.on if options.rerank is None else options.rerank

    def _reordered(self, query: str, head: Sequence[Retrieved]) -> tuple[Sequence[Retrieved], float]:
        """`head` in its new order, and the log-odds of its best passage; 0 if the reranker cannot read the query."""
        scored = score_readable(self.scorer, query, [self.index.chunk_text(item.chunk) for item in head])
        if scored is None:
            if not self._told:
                self._told = True
                say("a query too long for the reranker keeps the order of the first search", style="yellow")
            return head, 0.0
        joined = joined_scores(scored.scores, [item.score for item in head], self.choice.weight)
        order = np.argsort(-joined, kind="stable")
        best = max((log_odds(float(score)) for score in scored.scores), default=0.0)
        return [Retrieved(head[place].chunk, float(joined[place]), "reranked") for place in order], best


def score_readable(scorer: Scorer, query: str, texts: Sequence[str]) -> Scored | None:
    """Scores of `texts`; None for a query that the reranker cannot read beside a text."""
    try:
        return scorer.score(query, texts)
    except RequestError as error:
        if error.code != "context_length_exceeded":
            raise
        return None


def joined_scores(scores: Sequence[float] | np.ndarray, first: Sequence[float], weight: float) -> np.ndarray:
    """(N,) log-odds of the reranker's scores plus `weight` times the first search's, scaled by their maximum."""
    top = max(first, default=0.0)
    scaled = np.asarray(first) / top if top > 0 else np.zeros(len(first))
    return np.array([log_odds(float(score)) for score in scores]) + weight * scaled


def fit_reranking(searcher: Searcher, scorer: Scorer, questions: Sequence[Question], *, depth: int = 20) -> Reranking:
    """Score the first `depth` passages of every question once, and choose k and weight, or neither.

    A question that the reranker cannot read keeps its order at every k and weight, as it will when it is served.
    Raises DataError for fewer than two questions.
    """
    if len(questions) < 2:
        remedy = "The documents need titled sections or whole sentences; a larger collection has more."
        raise DataError(f"{len(questions)} questions are too few to fit the reranking on", remedy=remedy)
    ks = sorted({k for k in (5, 10, 15, 20, 30, 50) if k < depth} | {depth})
    grid = [(k, weight) for k in ks for weight in _WEIGHTS]
    before, after, tokens, long = [], [], list[float](), 0
    with track("fitting the reranking", total=len(questions), unit="questions") as bar:
        for question in questions:
            found = searcher.search(question.text, depth)
            texts = [searcher.index.chunk_text(item.chunk) for item in found]
            scored = score_readable(scorer, question.text, texts)
            gains = np.array([float(overlaps(item.chunk, question)) for item in found])
            first = [item.score for item in found]
            before.append(_ndcg(gains))
            if scored is None:
                long += 1
                after.append([before[-1]] * len(grid))
            else:
                after.append([_ndcg(_moved(gains, scored.scores, first, k, weight)) for k, weight in grid])
                tokens.append(scored.tokens / max(1, len(found)))
            bar.advance()
    if long:
        say(f"{long} of {len(questions)} questions are too long for the reranker and keep their order", style="yellow")
    return _choose(before, np.array(after), grid, float(np.mean(tokens or [0.0])), searcher.fusion.arm)


def _moved(gains: np.ndarray, scores: np.ndarray, first: Sequence[float], k: int, weight: float) -> np.ndarray:
    """`gains` in the order that reranking the first `k` gives."""
    order = np.argsort(-joined_scores(scores[:k], first[:k], weight), kind="stable")
    return np.concatenate([gains[:k][order], gains[k:]])


def _ndcg(gains: np.ndarray) -> float:
    return ndcg_at_k(first_gain_only(gains.tolist()), _K, ideal=[1.0])


def _choose(
    before: Sequence[float], after: np.ndarray, grid: Sequence[tuple[int, float]], tokens: float, arm: str
) -> Reranking:
    """after (N, G): nDCG@10 of each question at each point of the grid."""
    held = np.empty(len(before))
    for half in (0, 1):
        ours = np.arange(len(before)) % 2 == half
        held[ours] = after[ours, _best(np.asarray(before)[~ours], after[~ours], grid)]
    gain = paired_difference(held.tolist(), before)
    best = _best(np.asarray(before), after, grid)
    k, weight = grid[best]
    spread = f"{gain.mean:+.3f} nDCG@10, 95 % interval {gain.low:+.3f} to {gain.high:+.3f}"
    if gain.above_zero:
        reason = f"Reranking the first {k} of {arm} search gains {spread}, which lies above 0."
    else:
        reason = f"Reranking {arm} search gains {spread}, which reaches 0 or below: it is switched off."
    means = after.mean(0)
    depths = []
    for size in sorted({size for size, _ in grid}):
        at = max((place for place, point in enumerate(grid) if point[0] == size), key=lambda place: means[place])
        depths.append(DepthScore(size, grid[at][1], float(means[at]), round(tokens * size, 1)))
    return Reranking(
        on=gain.above_zero,
        k=k,
        weight=weight,
        reason=reason,
        arm=arm,
        n_questions=len(before),
        first=interval(before),
        reranked=interval(held.tolist()),
        gain=gain,
        depths=tuple(depths),
    )


def _best(before: np.ndarray, after: np.ndarray, grid: Sequence[tuple[int, float]]) -> int:
    """The place in the grid with the smallest k that reaches most of the largest gain, at that k's best weight."""
    gains = after.mean(0) - before.mean()
    enough = gains.max() - (1 - _ENOUGH) * abs(gains.max())
    k = min(size for (size, _), gain in zip(grid, gains, strict=True) if gain >= enough)
    return max((place for place, point in enumerate(grid) if point[0] == k), key=lambda place: gains[place])


class KeepRerankerConfig(Config):
    """A reranker from outside, kept in the workspace so that what is measured is what will be served."""

    name: str = Field(description="as it was asked for")


def keep_reranker(config: KeepRerankerConfig, step: Step, source: Source) -> dict[str, float | int | str]:
    """Copy the model's directory into `step.out`. Raises ModelError where it holds no cross-encoder."""
    window = Reranker.load(source.path).window
    for file in sorted(path for path in source.path.iterdir() if path.is_file()):
        shutil.copyfile(file, step.out / file.name)
    return {"window": window}


class FitRerankingConfig(Config):
    """How the decision is made."""

    n_questions: int = Field(400, ge=2, description="development questions")
    depth: int = Field(20, ge=1, description="passages of the first search that may be reranked")
    seed: int = Field(0, ge=0, description="which questions are made; the same as in mining")
    always: bool = Field(False, description="switch it on whatever is measured")


def fit_reranked(
    config: FitRerankingConfig,
    step: Step,
    reranker: Source | Artifact,
    index: Artifact,
    embedder_dir: Source | Artifact,
    dataset: Artifact,
    fit: Artifact,
) -> dict[str, float | int | str]:
    """Write `reranking.json` into `step.out`, from development questions that the reranker never learned from."""
    started = time.perf_counter()
    chosen = MineConfig(n_questions=4 * config.n_questions, seed=config.seed)
    questions = questions_of(chosen, dataset, load_documents(dataset.path), "dev")
    with closing(Searcher.open(index.path, embedder_dir.path, load_fusion(fit.path).choice)) as searcher:
        fitted = fit_reranking(searcher, Reranker.load(reranker.path), questions, depth=config.depth)
    if config.always and not fitted.on:
        fitted = replace(fitted, on=True, reason=f"{fitted.reason} The recipe wants it switched on.")
    fitted.save(step.out / FILE_NAME)
    return {"on": int(fitted.on), "k": fitted.k, "weight": fitted.weight, "questions": fitted.n_questions,
            "ndcg": fitted.first.mean, "ndcg_reranked": fitted.reranked.mean, "gain": fitted.gain.mean,
            "gain_low": fitted.gain.low, "gain_high": fitted.gain.high,
            "seconds": round(time.perf_counter() - started, 3)}  # fmt: skip
