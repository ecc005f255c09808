"""Citations that can be checked: a sentence is tied to the span of a passage that says it, or to nothing.

Two ways, the strict one first:

    exact    the sentence stands in the passage, white space and letter case aside
    aligned  all its content words (names and numbers among them) stand in the passage in the same order, its operators
             too, and at least 0.4 of all its words stand there as one unbroken run

Either way the span is widened to whole sentences, and refused where the meaning may differ although the words agree:
a quantity or order (all, two, before, ...) that the span does not have, or another count of negations, conditions and
hedges (not, if, only, some, may, ...): leaving one out would make the claim stronger than its source.

Chosen:   rules without a network; they refuse good paraphrases, so that what is cited is said there word for word but
          for what was left out.
Left out: natural language inference; claims put together from two places.
Try it:   python benchmarks/citations.py --answers 4
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from genwerk.core.types import Chunk, Citation, Document
from genwerk.data.places import place_of_span
from genwerk.data.sentences import split_sentences
from genwerk.retrieval.words import STOP_WORDS, Word, content_words, stem, words_of

__all__ = ["Passage", "align", "cite", "may_be_shown", "strip_markers", "verify"]

_MIN_CONTENT_WORDS = 2
_MIN_WORDS = 3
_UNBROKEN = 0.4
_WINDOW_SENTENCES = 3
_MARKER = re.compile(r"\s*(?<![\w\])])\[\d{1,2}(?:\s*[,;–-]\s*\d{1,2})*\]|(?<=[\w\])])\[\d{1,2}\](?=\s*(?:[.,;:!?]|$))")
_LEAD = re.compile(r"^\s*(?:[-*•+–]\s+|#{1,6}\s+|\(?\d{1,3}[.)]\s+|(?:answer|antwort):\s*)", re.IGNORECASE)
_OPERATOR = re.compile(r"[=!<>+*/%&|^~@≤≥≠±×÷€$£]+|->|(?<=\s)-(?=\s)")
_COUNTED = """
    not no never none neither nor cannot without nothing nobody nowhere hardly if unless except only some sometimes
    usually often rarely few may might could
    nicht nie niemals ohne nichts niemand weder kein keine keinen keinem keiner keines wenn falls außer nur manche
    manchmal meist meistens oft selten wenige könnte
"""
_COUNTED_WHEN_ALIGNED = "by than von durch als"
_ORDER = """
    all any every each most least more less fewer many always must should can will before after until since either both
    first last above below up down over under in out on off from to same other against with
    one two three four five six seven eight nine ten eleven twelve once twice half
    alle jeder immer mehr weniger muss kann darf soll vor nach bis seit beide über unter
"""
COUNTED, COUNTED_WHEN_ALIGNED = frozenset(_COUNTED.split()), frozenset(_COUNTED_WHEN_ALIGNED.split())
ORDER = frozenset(_ORDER.split())


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved chunk and the document it is a span of."""

    chunk: Chunk
    document: Document

    @property
    def text(self) -> str:
        return self.document.text[self.chunk.start : self.chunk.end]


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    end: int
    quality: float


def strip_markers(text: str) -> str:
    """The sentence without what a model puts around it: [1], list signs, `Answer:`; white space is joined."""
    text = _LEAD.sub("", _MARKER.sub("", text))
    return " ".join(text.split())


def align(sentence: str, passages: Sequence[Passage], hint: int = 0) -> Citation | None:
    """The citation of the span that says `sentence`, or None if none does. The first of equally good passages wins.

    hint   passage, from 1, that is taken for the first; 0: none
    """
    if 0 < hint <= len(passages):
        passages = [passages[hint - 1], *passages[: hint - 1], *passages[hint:]]
    for claim in dict.fromkeys((" ".join(sentence.split()), strip_markers(sentence))):
        if (found := _align(claim, passages)) is not None:
            return found
    return None


def _align(claim: str, passages: Sequence[Passage]) -> Citation | None:
    words = words_of(claim)
    if len(words) < _MIN_WORDS or len(content_words(claim)) < _MIN_CONTENT_WORDS:
        return None
    best: tuple[float, Passage, _Match] | None = None
    for passage in passages:
        match = _exact(claim, passage.text) or _aligned(claim, passage.text)
        if match and (best is None or match.quality > best[0]):
            best = (match.quality, passage, match)
    if best is None:
        return None
    _, passage, match = best
    return cite(passage.document, passage.chunk.start + match.start, passage.chunk.start + match.end)


def cite(document: Document, start: int, end: int) -> Citation:
    """The citation of text[start:end], without white space at its edges."""
    quote = document.text[start:end]
    start += len(quote) - len(quote.lstrip())
    quote = quote.strip()
    end = start + len(quote)
    place = place_of_span(document, start, end) if quote else ""
    return Citation(document.id, document.sha256, start, end, quote, document.source, place)


def verify(citation: Citation, document: Document) -> bool:
    """Whether the quote stands in the document where it is said to, byte by byte, and the document is the one meant."""
    if citation.document_id != document.id or citation.source != document.source:
        return False
    if not 0 <= citation.start < citation.end <= len(document.text):
        return False
    if citation.sha256 != hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).hexdigest():
        return False
    if citation.place and citation.place != place_of_span(document, citation.start, citation.end):
        return False
    return document.text[citation.start : citation.end] == citation.quote


class Documents(Protocol):
    """Where a citation is looked up: an index."""

    @property
    def document_ids(self) -> Collection[str]: ...
    @property
    def document(self) -> Callable[[str], Document]: ...
    def may_see(self, document_id: str, groups: Collection[str] = ()) -> bool: ...


def may_be_shown(citation: Citation, documents: Documents, groups: Collection[str] = ()) -> bool:
    """Whether the document is there, somebody in `groups` may see it, and the quote stands in it as it is now."""
    identity = citation.document_id
    there = identity in documents.document_ids and documents.may_see(identity, groups)
    return there and verify(citation, documents.document(identity))


def _exact(claim: str, text: str) -> _Match | None:
    """The claim in the text, white space and case aside, as whole words, widened to sentences."""
    squeezed, places = _squeeze(text)
    wanted = _squeeze(claim.rstrip(" .!?…:;,"))[0]
    at = squeezed.find(wanted)
    while at >= 0:
        start, end = places[at], places[at + len(wanted) - 1] + 1
        if not _inside_word(text, start) and not _inside_word(text, end):
            first, last = _snap(text, start, end)
            if _says(claim, text[first:last], exact=True):
                return _Match(first, last, 2.0)
        at = squeezed.find(wanted, at + 1)
    return None


@lru_cache(maxsize=256)
def _squeeze(text: str) -> tuple[str, list[int]]:
    """The text folded, without white space, and the place of each of its characters."""
    kept = [(folded, place) for place, character in enumerate(text) for folded in character.casefold()]
    kept = [(folded, place) for folded, place in kept if not folded.isspace()]
    return "".join(folded for folded, _ in kept), [place for _, place in kept]


def _inside_word(text: str, place: int) -> bool:
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


def _aligned(claim: str, text: str) -> _Match | None:
    """The shortest run of up to three sentences that says the claim; of equally short ones the closest in wording."""
    spans = split_sentences(text)
    for size in range(1, _WINDOW_SENTENCES + 1):
        best: _Match | None = None
        for first in range(len(spans) - size + 1):
            start, end = spans[first][0], spans[first + size - 1][1]
            if not _says(claim, text[start:end], exact=False):
                continue
            quality = _unbroken(claim, text[start:end]) - 0.1 * size
            if best is None or quality > best.quality:
                best = _Match(start, end, quality)
        if best is not None:
            return best
    return None


def _unbroken(claim: str, span: str) -> float:
    """Share of the claim's words that stand in the span as one run."""
    ours, theirs = [word.folded for word in words_of(claim)], [word.folded for word in words_of(span)]
    row, best = [0] * (len(theirs) + 1), 0
    for one in ours:
        row = [0, *(row[column] + 1 if one == other else 0 for column, other in enumerate(theirs))]
        best = max(best, *row)
    return best / len(ours)


def _snap(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen to the sentences that the span touches; a span outside all sentences stays."""
    touched = [span for span in split_sentences(text) if span[0] < end and start < span[1]]
    return (min(touched[0][0], start), max(touched[-1][1], end)) if touched else (start, end)


def _says(claim: str, span: str, *, exact: bool) -> bool:
    """Whether the span says the claim; `exact` if the claim's characters are known to stand in it."""
    ours, theirs = words_of(claim), words_of(span)
    counted = COUNTED if exact else COUNTED | COUNTED_WHEN_ALIGNED
    if _counts(ours, counted) != _counts(theirs, counted):
        return False
    if exact:
        return _unbroken(claim, span) == 1.0  # 1 is not said by 1.5, though its characters are there
    in_order = _in_order((_key(word) for word in ours if _matters(word)), (_key(word) for word in theirs))
    same_signs = _in_order(iter(_OPERATOR.findall(claim)), iter(_OPERATOR.findall(span)))
    return in_order and same_signs and _unbroken(claim, span) >= _UNBROKEN


def _matters(word: Word) -> bool:
    return word.folded not in STOP_WORDS or word.folded in ORDER or word.folded in COUNTED


def _key(word: Word) -> str:
    """Words compare by their stem, names and numbers as they are."""
    return word.folded if any(c.isupper() or c.isdigit() for c in word.text[1:]) else stem(word.folded)


def _in_order(wanted: Iterator[str], there: Iterator[str]) -> bool:
    """Whether `wanted` is a subsequence of `there`."""
    return all(any(item == other for other in there) for item in wanted)


def _counts(words: Sequence[Word], counted: frozenset[str]) -> Counter[str]:
    """How often each counted word stands there; contracted negations count as `not`."""
    folded = ("not" if word.folded.endswith("n't") or word.folded == "cannot" else word.folded for word in words)
    return Counter(word for word in folded if word in counted)
