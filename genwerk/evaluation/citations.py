"""Whether answers cite what is there: every citation is cut out of its document again and compared byte by byte.

    valid   = citations with text[start:end] == quote and sha256(text) == the cited hash, of all citations
    grounding = mean score of the sentences shown (retrieval/support.py)
    language  = answers in the language of their question, of all answers given
    gold    = answers with a citation in the section the question was made from, of all answers given

Chosen:   documents are read from the prepared dataset, not from the index that answered, and their hashes are computed
          anew, so that a fault in the index cannot vouch for itself. Silent answers count in none of these shares.
Left out: whether the answer is right or complete; that takes a judge.
Try it:   genwerk evaluate
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genwerk.core.progress import track
from genwerk.core.types import Citation, Document
from genwerk.data.questions import Question
from genwerk.data.sections import split_sections
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.outcome import Outcome
from genwerk.metrics.bootstrap import interval
from genwerk.metrics.ratio import ratio_interval
from genwerk.retrieval.answer_events import AnswerEvent, Done, Sentence

__all__ = ["Answered", "answer_questions", "measure_citations", "reslices"]

_HASH_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Answered:
    """A question and all that was said to it."""

    question: Question
    sentences: tuple[Sentence, ...]
    done: Done


def answer_questions(
    questions: Sequence[Question], answer: Callable[[str], Iterator[AnswerEvent]]
) -> Iterator[Answered]:
    """Answer each question to its end, one after the other."""
    with track("answers", total=len(questions), unit="answers") as bar:
        for question in questions:
            events = list(answer(question.text))
            done = next(event for event in events if isinstance(event, Done))
            yield Answered(question, tuple(event for event in events if isinstance(event, Sentence)), done)
            bar.advance()


def reslices(citation: Citation, documents: Mapping[str, Document]) -> bool:
    """Whether the quotation stands in its document, byte by byte, and the document is the one that was hashed."""
    document = documents.get(citation.document_id)
    if document is None or not 0 <= citation.start < citation.end <= len(document.text):
        return False
    data = document.text.encode("utf-8", "surrogatepass")
    cut = document.text[citation.start : citation.end].encode("utf-8", "surrogatepass")
    same = cut == citation.quote.encode("utf-8", "surrogatepass")
    return same and hashlib.sha256(data).hexdigest() == citation.sha256


def measure_citations(answers: Sequence[Answered], documents: Mapping[str, Document]) -> Outcome:
    """Check every citation of every answer; the details hold each answer with its sources for the report."""
    given = [item for item in answers if not item.done.abstained]
    checks = [reslices(citation, documents) for item in given for citation in item.done.citations]
    quoted = sum(item.done.quoted for item in given)
    gold = sum(_cites_gold(item, documents) for item in given)
    of = f"of {len(given)} answers to held-out questions ({len(answers) - len(given)} more stayed silent)"
    measures = (
        Measure.share("citations.valid", sum(checks), len(checks), f"citations {of}; cut from the dataset, hash anew"),
        _per_answer([len(item.done.citations) for item in given], of),
        _supported(given, of),
        Measure.share("citations.fallback", quoted, len(given), of[3:]),
        _grounding(given, of),
        Measure.share("citations.language", sum(_as_asked(item.done) for item in given), len(given), of[3:]),
        Measure.share("citations.gold", gold, len(given), of[3:]),
    )
    return Outcome(measures, {"citations": {"answers": [_sample(item, documents) for item in answers]}})


def _per_answer(counts: Sequence[int], of: str) -> Measure:
    if not counts:
        return Measure("citations.per_answer", math.nan, 0, of[3:])
    found = interval(counts)
    spread = "95 % bootstrap over answers"
    return Measure("citations.per_answer", found.mean, found.n, of[3:], found.low, found.high, spread)


def _supported(given: Sequence[Answered], of: str) -> Measure:
    kept = [item.done.kept for item in given]
    written = [item.done.kept + len(item.done.dropped) for item in given]
    how = f"sentences the model wrote, {of}"
    if not sum(written):
        return Measure("citations.supported_sentences", math.nan, 0, how)
    found = ratio_interval(kept, written)
    spread = "95 % bootstrap over answers"
    return Measure("citations.supported_sentences", found.mean, sum(written), how, found.low, found.high, spread)


def _grounding(given: Sequence[Answered], of: str) -> Measure:
    scores = [[one.support.score for one in item.sentences if one.support is not None] for item in given]
    how = f"sentences shown, {of}"
    if not any(scores):
        return Measure("citations.grounding", math.nan, 0, how)
    found = ratio_interval([sum(some) for some in scores], [len(some) for some in scores])
    spread = "95 % bootstrap over answers"
    return Measure("citations.grounding", found.mean, sum(map(len, scores)), how, found.low, found.high, spread)


def _as_asked(done: Done) -> bool:
    return done.language == done.said_in


def _cites_gold(item: Answered, documents: Mapping[str, Document]) -> bool:
    question = item.question
    sections = split_sections(documents[question.document_id])
    home = next((part for part in sections if part.start <= question.start < part.end), None)
    start, end = (home.start, max(home.end, question.end)) if home else (question.start, question.end)
    return any(
        citation.document_id == question.document_id and citation.start < end and start < citation.end
        for citation in item.done.citations
    )


def _sample(item: Answered, documents: Mapping[str, Document]) -> dict[str, Any]:
    citations = [
        {
            "number": number,
            "text": " ".join(citation.quote.split()),
            "source": citation.source,
            "start": citation.start,
            "end": citation.end,
            "sha256": citation.sha256[:_HASH_SHOWN],
            "valid": reslices(citation, documents),
        }
        for number, citation in enumerate(item.done.citations, start=1)
    ]
    return {
        "question": item.question.text,
        "abstained": item.done.abstained,
        "quoted": item.done.quoted,
        "gold": _cites_gold(item, documents),
        "dropped": len(item.done.dropped),
        "parts": [{"text": sentence.text, "number": sentence.number} for sentence in item.sentences],
        "citations": citations,
    }
