"""Whether the assistant stays silent when the answer is not there, and speaks when it is.

    when_removed = share of questions below the threshold with the gold document taken out of the search
    false        = share of questions below the threshold with everything in place

Source: Geifman and El-Yaniv (2017), Selective classification for deep neural networks, for risk and coverage.

Chosen:   the same held-out questions with and without their document; the threshold is the fitted one, untouched. The
          network is not asked: abstention is decided on the search score before a token is generated.
Left out: questions that no document could ever answer; answers found in other documents count as failures to abstain.
Try it:   genwerk evaluate
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from genwerk.core.progress import track
from genwerk.data.questions import Question
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.outcome import Outcome

__all__ = ["Score", "measure_abstention"]

Score = Callable[[str, str | None], float]  # question, document to leave out (or None) → score abstention looks at


def measure_abstention(questions: Sequence[Question], score: Score, threshold: float) -> Outcome:
    """Score every question twice; below `threshold` is silence."""
    present: list[float] = []
    removed: list[float] = []
    with track("abstention", total=len(questions), unit="questions") as bar:
        for question in questions:
            present.append(score(question.text, None))
            removed.append(score(question.text, question.document_id))
            bar.advance()
    silent = [sum(value < threshold for value in values) for values in (removed, present)]
    how = "held-out questions, how sure the search is against the fitted threshold, "
    measures = (
        Measure.share("abstention.when_removed", silent[0], len(questions), how + "gold document left out"),
        Measure.share("abstention.false", silent[1], len(questions), how + "everything indexed"),
    )
    return Outcome(measures, {"abstention": {"present": present, "removed": removed, "threshold": threshold}})
