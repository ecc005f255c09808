"""Whether search finds the passage a question was made from: three arms on the same held-out questions.

    hit@k    1 if one of the first k passages overlaps the gold span
    nDCG@10  1 / log2(rank + 1) of the first passage that does, 0 beyond rank 10 (one known item)

Source: Voorhees and Harman (2005), TREC, on known-item search; Järvelin and Kekäläinen (2002) for nDCG.

Chosen:   search runs over the whole index, training documents included, as it will when served; the interval is a
          bootstrap over questions. `retrieval.RANK` without an arm is the arm that serves: the one that
          the fit chose, or `reranked` where the reranker was decided to have the last word.
Left out: graded relevance, questions by people.
Try it:   genwerk evaluate
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from genwerk.core.progress import track
from genwerk.core.types import ARMS, Retrieved
from genwerk.data.questions import Question
from genwerk.evaluation.measures import RANKS, Measure
from genwerk.evaluation.outcome import Outcome
from genwerk.metrics.bootstrap import interval
from genwerk.metrics.ranking import hit_at_k, ndcg_at_k
from genwerk.retrieval.fusion import known_item_gains

__all__ = ["Search", "measure_retrieval"]

Search = Callable[[str, str, int], Sequence[Retrieved]]  # question, arm, k → best first
_DEPTH = 10
_STYLES = {"title": "about a section, by its title", "terms": "about one sentence, by rare words of it"}
_SPREAD = "95 % bootstrap over questions"


def measure_retrieval(
    questions: Sequence[Question], search: Search, *, served: str, chunks: int, arms: Sequence[str] = ARMS
) -> Outcome:
    """Every arm on every question; details for the report by style of question for the arm that is `served`."""
    scores: dict[str, dict[str, list[float]]] = {arm: {rank: [] for rank in RANKS} for arm in arms}
    with track("retrieval", total=len(questions), unit="questions") as bar:
        for question in questions:
            for arm in arms:
                results = search(question.text, arm, _DEPTH)
                found = known_item_gains([item.chunk for item in results], question)
                scores[arm]["hit@1"].append(hit_at_k(found, 1))
                scores[arm]["hit@5"].append(hit_at_k(found, 5))
                scores[arm]["ndcg@10"].append(ndcg_at_k(found, _DEPTH, ideal=[1.0]))
            bar.advance()
    how = f"known-item questions from held-out documents, all {chunks:,} passages searched"
    measures = [_measure(f"retrieval.{rank}", scores[served][rank], f"{served} arm; {how}") for rank in RANKS]
    measures += [_measure(f"retrieval.{arm}.{rank}", scores[arm][rank], how) for arm in arms for rank in RANKS]
    styles = [_style(style, questions, scores[served]) for style in dict.fromkeys(item.style for item in questions)]
    details = {"arm": served, "n": len(questions), "chunks": chunks, "styles": styles}
    return Outcome(tuple(measures), {"retrieval": details})


def _measure(name: str, values: Sequence[float], how: str) -> Measure:
    found = interval(values)
    return Measure(name, found.mean, found.n, how, found.low, found.high, _SPREAD)


def _style(style: str, questions: Sequence[Question], scores: dict[str, list[float]]) -> dict[str, Any]:
    chosen = [index for index, question in enumerate(questions) if question.style == style]
    measures = {
        rank: _measure(f"retrieval.{rank}", [scores[rank][index] for index in chosen], "").to_json() for rank in RANKS
    }
    example = questions[chosen[0]].text
    return {"label": _STYLES.get(style, style), "example": example, "n": len(chosen), "measures": measures}
