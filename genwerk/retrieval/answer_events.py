"""What happens while a question is answered, in the order in which it happens.

Passages, then Sentence once per checked sentence, then Done exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass

from genwerk.core.types import Citation, Document, Retrieved, Usage, Verdict
from genwerk.retrieval.support import Support

__all__ = ["AnswerEvent", "Done", "Passages", "Sentence"]


@dataclass(frozen=True, slots=True)
class Passages:
    """What was found for the question, best first. `query` is what was searched, `score` what abstention looks at.

    documents   that the results are spans of, one each, as they were when they were found.
    """

    results: tuple[Retrieved, ...]
    query: str
    score: float
    threshold: float
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence that may be shown: verified, and checked by the guards.

    text      without markers.
    citation  None only for the sentence that says why there is no answer.
    number    of the citation in this answer, from 1; 0 without one. The same span has the same number.
    quoted    True where the words are the document's own because the model wrote nothing that could be supported.
    support   how well its quote holds it; None without one.
    hinted    whether the model's own marker named the passage it was found in; None where it wrote none.
    agreed    share of the drawn answers that cite the same span, where several were drawn.
    """

    text: str
    citation: Citation | None
    number: int = 0
    quoted: bool = False
    support: Support | None = None
    hinted: bool | None = None
    agreed: float | None = None

    @property
    def shown(self) -> str:
        """The text with its marker, `… [1]`."""
        return f"{self.text} [{self.number}]" if self.number else self.text


@dataclass(frozen=True, slots=True)
class Done:
    """The whole answer.

    text       all shown sentences with their markers [n]; n is the place in `citations`, from 1.
    citations  distinct, in order of their numbers.
    abstained  True where the found passages score below the fitted threshold, nothing was found, or a
               guard held back all of it; `text` then says so.
    kept       sentences of the model that were shown.
    dropped    sentences of the model that were not: no passage supports them, they were not asked for, or a guard
               held them back.
    quoted     True where the best passage was quoted instead.
    verdicts   of the `check` callable, one per sentence looked at.
    tokens     as generated, with those of dropped sentences; of several answers drawn those of the first.
    language   of the question, ISO 639-1; said_in: of the answer, which is that of the documents it cites.
    """

    text: str
    citations: tuple[Citation, ...]
    abstained: bool
    usage: Usage
    finish_reason: str
    kept: int = 0
    dropped: tuple[str, ...] = ()
    quoted: bool = False
    verdicts: tuple[Verdict, ...] = ()
    tokens: tuple[int, ...] = ()
    language: str = "en"
    said_in: str = "en"


AnswerEvent = Passages | Sentence | Done
