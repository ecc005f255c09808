"""Abstention: below which score the answer is probably not in the documents, so that silence is better.

Source: Geifman and El-Yaniv (2017), Selective classification for deep neural networks, for risk and coverage.

    score(q) = one signal, or  w0 + sum over signals of w_i (x_i - mean_i) / scale_i       (logistic regression)
    threshold = the k-th lowest score of an answerable question,  k = max { k : P(B(n, share) <= k) <= 1 - confidence }

B(n, share)   how many of n answerable questions fall below a threshold that keeps silent on that share of all of them
risk      share of unanswerable questions among those answered
coverage  share of answerable questions that are answered

Answerable questions are known-item questions; unanswerable ones are the same questions with their document taken out.

Bates et al. (2021), Distribution-free, risk-controlling prediction sets, for the threshold: a quantile of the fitting
questions themselves is passed by other questions half of the time.

Chosen:   the regression is used only where it separates better than the best single signal on questions it was not
          fitted on (area under the ROC curve over five folds of whole questions, by at least 0.005); a smaller score
          means less sure, whichever is used. The threshold of a regression is chosen on the scores of questions it was
          not fitted on.
Left out: asking the language model whether it knows; conformal guarantees.
Try it:   genwerk run recipes/quickstart.yaml --no-serve, then read abstention.json in the fit artifact
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from genwerk.core.atomic import write_json
from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.progress import track
from genwerk.data.questions import Question
from genwerk.retrieval.search import Findings, Signals

__all__ = ["FILE_NAME", "Abstention", "Looks", "RiskPoint", "collect_signals", "fit_abstention", "load_abstention"]

FILE_NAME = "abstention.json"
SIGNALS = tuple(item.name for item in fields(Signals))
_FOLDS = 5
_WORTH = 0.005


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """What a threshold would do: `coverage` of answerable questions, `risk` among the answered ones."""

    threshold: float
    coverage: float
    risk: float


@dataclass(frozen=True, slots=True)
class Abstention:
    """A linear score of the signals and the threshold below which there is no answer."""

    method: str
    weights: tuple[float, ...]
    intercept: float
    threshold: float
    reason: str
    auc: float
    false_abstention: float
    true_abstention: float
    n_questions: int
    curve: tuple[RiskPoint, ...] = ()

    def score(self, signals: Signals) -> float:
        """How sure the search is; comparable with `threshold` only."""
        return self.intercept + float(np.dot(self.weights, astuple(signals)))

    def abstains(self, signals: Signals) -> bool:
        """Whether the score is below the threshold."""
        return self.score(signals) < self.threshold

    def save(self, path: Path) -> None:
        """Write it as JSON, the weights by the names of their signals."""
        values = asdict(self)
        values["weights"] = dict(zip(SIGNALS, self.weights, strict=True))
        write_json(path, values)


def load_abstention(path: Path) -> Abstention:
    """Read abstention.json (or the folder it is in). Raises WorkspaceError when it is missing or damaged."""
    path = path / FILE_NAME if path.is_dir() else path
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        named = values.pop("weights")
        curve = tuple(RiskPoint(**point) for point in values.pop("curve"))
        if not named.keys() <= set(SIGNALS):
            raise ValueError(f"there are no signals {sorted(named.keys() - set(SIGNALS))}")
        weights = tuple(float(named.get(name, 0.0)) for name in SIGNALS)  # one that came since weighs nothing
        return Abstention(**values, weights=weights, curve=curve)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WorkspaceError(
            f"the abstention threshold cannot be read: {error!r}", where=str(path), remedy="Run the recipe again."
        ) from error


class Looks(Protocol):
    """A search that tells its signals."""

    def look(self, query: str, k: int = 8, *, exclude: Collection[str] = ()) -> Findings: ...


def collect_signals(searcher: Looks, questions: Sequence[Question]) -> tuple[list[Signals], list[Signals]]:
    """Signals of each question with its document in place, and with it taken out."""
    present, removed = [], []
    with track("fitting abstention", total=len(questions), unit="questions") as bar:
        for question in questions:
            present.append(searcher.look(question.text).signals)
            removed.append(searcher.look(question.text, exclude=(question.document_id,)).signals)
            bar.advance()
    return present, removed


def fit_abstention(
    present: Sequence[Signals],
    removed: Sequence[Signals],
    *,
    max_false_abstention: float = 0.1,
    confidence: float = 0.9,
) -> Abstention:
    """Choose a score and its threshold from signals of answerable and unanswerable questions, pair by pair.

    At most the share `max_false_abstention` of answerable questions like these falls below the threshold, with this
    `confidence`. Raises DataError without questions.
    """
    if not present or len(present) != len(removed):
        raise DataError("there are no questions to fit abstention on", remedy="A larger collection has more.")
    x = np.array([astuple(item) for item in (*present, *removed)])  # (2N, S)
    y = np.repeat([1, 0], len(present))
    single = max(range(len(SIGNALS)), key=lambda column: _auc(y, x[:, column]))
    weights, intercept = np.eye(len(SIGNALS))[single], 0.0
    method, auc = SIGNALS[single], _auc(y, x[:, single])
    reason = f"{method} separates answerable from unanswerable questions with an area under the curve of {auc:.3f}"
    scores = x[:, single]
    if len(present) >= 2 * _FOLDS:
        crossed = _cross_scores(x, y)
        reason += f"; all signals together {_auc(y, crossed):.3f} on questions not fitted on"
        if _auc(y, crossed) >= auc + _WORTH:
            weights, intercept = _regression(x, y)
            method, auc, scores = "logistic regression", _auc(y, crossed), crossed
    threshold = _threshold(scores[y == 1], _safely_below(len(present), max_false_abstention, confidence))
    few = binom.cdf(0, len(present), max_false_abstention) > 1.0 - confidence
    promise = "; there are too few questions to promise the share for others" if few else ""
    return Abstention(
        method=method,
        weights=tuple(float(weight) for weight in weights),
        intercept=float(intercept),
        threshold=threshold,
        reason=f"{reason}: {method} is used{promise}.",
        auc=auc,
        false_abstention=float((scores[y == 1] < threshold).mean()),
        true_abstention=float((scores[y == 0] < threshold).mean()),
        n_questions=len(present),
        curve=_curve(scores[y == 1], scores[y == 0]),
    )


def _threshold(answerable: np.ndarray, below: int) -> float:
    """The score that `below` answerable questions lie under, but for equal ones."""
    return float(np.sort(answerable)[min(below, len(answerable) - 1)])


def _safely_below(n: int, share: float, confidence: float) -> int:
    """How many of `n` may lie below a threshold that is to keep silent on at most `share` of all others."""
    allowed = np.searchsorted(binom.cdf(np.arange(n), n, share), 1.0 - confidence, side="right")
    return max(int(allowed) - 1, 0)


def _curve(answerable: np.ndarray, unanswerable: np.ndarray) -> tuple[RiskPoint, ...]:
    points = []
    for share in np.linspace(0.0, 0.95, 20):
        threshold = _threshold(answerable, int(share * len(answerable)))
        kept, wrong = int((answerable >= threshold).sum()), int((unanswerable >= threshold).sum())
        points.append(RiskPoint(threshold, kept / len(answerable), wrong / (kept + wrong)))
    return tuple(points)


def _auc(y: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(y, scores))


def _regression(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (S,) and intercept on the signals as they are; fitted on standardised ones."""
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    model = LogisticRegression(C=1.0, max_iter=1000).fit((x - mean) / scale, y)
    weights = model.coef_[0] / scale
    return weights, float(model.intercept_[0] - weights @ mean)


def _cross_scores(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Scores of each fold by a regression fitted on the others; both cases of a question share its fold."""
    n = len(y) // 2
    fold = np.tile(np.arange(n) % _FOLDS, 2)
    scores = np.empty(len(y))
    for number in range(_FOLDS):
        weights, intercept = _regression(x[fold != number], y[fold != number])
        scores[fold == number] = x[fold == number] @ weights + intercept
    return scores
