"""Summaries of documents that are longer than a prompt, every sentence of them tied to its place in the document.

    sections ─ pieces that fit ─ model ─ statements (map) ─┬─ groups ─ model ─ fewer statements (reduce) ─┐
                                                           │                     └──── while too many ────┤
                                                           └─ the outline, section by section             └─ the summary

Sources: Dean and Ghemawat (2004), MapReduce, for the name; Wu et al. (2021), Recursively summarizing books, section 2,
for summaries of summaries. Radev et al. (2004), Centroid-based summarization, for what is taken where the model fails.

    coverage = sections with a sentence that the summary cites / sections with a sentence that could be cited

Chosen:   a sentence is kept as a sentence of an answer is: where a span of the piece says it, and cut out there again;
          the reduction is aligned to the same spans of the document, not to the summaries, so that nothing drifts on
          the way up. Of a piece where nothing holds, the sentence nearest to its mean vector is quoted. Where a group
          keeps too few, sections that are not yet cited come first. Small sections share a piece.
Left out: rewording across sections; tables and pictures.
Try it:   genwerk index summarise handbook.md --index handbook-index
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.progress import track
from genwerk.core.types import Chunk, Citation, Document, Message, Request, Sampling
from genwerk.data.prompting import tidy_passage
from genwerk.data.sections import Section, split_sections
from genwerk.data.sentences import split_sentences
from genwerk.retrieval.answering import Generate
from genwerk.retrieval.citations import Passage, align, cite, strip_markers, verify
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.extract import is_readable
from genwerk.retrieval.replies import language_of_text

__all__ = ["SectionSummary", "Statement", "SummariseConfig", "Summary", "summarise"]

_ASK = {
    "en": "Summarise the text in at most {count} short sentences. Use its own words and add nothing.",
    "de": "Fasse den Text in höchstens {count} kurzen Sätzen zusammen. Benutze seine Worte und füge nichts hinzu.",
}


class SummariseConfig(Config):
    """How a document is summarised."""

    sentences: int = Field(8, ge=1, description="of the summary at most: what is read in half a minute")
    piece_chars: int = Field(1800, ge=200, description="of the document in a prompt: some 500 tokens")
    piece_sentences: int = Field(3, ge=1, description="kept of each piece at most")
    group: int = Field(8, ge=2, description="statements that are reduced together, to half as many")
    max_tokens: int = Field(120, ge=16, description="longest text the model writes of a piece or group")
    seed: int = Field(0, ge=0, description="of the sampling, which is greedy")


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of the summary and where the document says it; written: by the model, else quoted."""

    text: str
    citation: Citation
    written: bool


@dataclass(frozen=True, slots=True)
class SectionSummary:
    """A section that could be cited, and what was found to say of it."""

    section: Section
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Statements in the order of the document, and the outline that they were reduced from."""

    statements: tuple[Statement, ...]
    outline: tuple[SectionSummary, ...]

    @property
    def coverage(self) -> float:
        """Share of the sections that the summary cites."""
        return self._covered(self.statements)

    @property
    def outline_coverage(self) -> float:
        """Share of the sections that the outline cites."""
        return self._covered([statement for one in self.outline for statement in one.statements])

    def _covered(self, statements: Sequence[Statement]) -> float:
        cited = sum(any(_within(one.section, statement) for statement in statements) for one in self.outline)
        return cited / len(self.outline)


def summarise(
    document: Document, generate: Generate, embedder: TextEncoder, config: SummariseConfig | None = None
) -> Summary:
    """The summary of one document. Raises DataError where it has no sentence that could be cited."""
    config = config or SummariseConfig()
    sections = [section for section in split_sections(document) if _sentences(document, section.start, section.end)]
    if not sections:
        remedy = "A summary needs text in sentences; tables, code and headings have none."
        raise DataError("there is nothing to summarise", where=document.source, remedy=remedy)
    writer = _Writer(document, generate, embedder, config, language_of_text(document.text[:2000]))
    pieces = list(_pieces(document, sections, config.piece_chars))
    found: list[Statement] = []
    with track("summarising", total=len(pieces), unit="pieces") as bar:
        for piece in pieces:
            found += writer.of_piece(piece)
            bar.advance()
    outline = [SectionSummary(one, tuple(item for item in found if _within(one, item))) for one in sections]
    while len(found) > config.sentences:
        found = writer.reduce(found, sections)
    return Summary(tuple(sorted(found, key=lambda one: one.citation.start)), tuple(outline))


@dataclass(frozen=True, slots=True)
class _Writer:
    document: Document
    generate: Generate
    embedder: TextEncoder
    config: SummariseConfig
    language: str

    def of_piece(self, piece: Chunk) -> list[Statement]:
        """Statements of one piece; where the model writes none that holds, the most central sentence."""
        passage = Passage(piece, self.document)
        found = self._written(tidy_passage(passage.text), [passage], self.config.piece_sentences)
        spans = _sentences(self.document, piece.start, piece.end)
        if found or not spans:
            return found
        citation = cite(self.document, *spans[self._central([self.document.text[slice(*span)] for span in spans])])
        return [Statement(strip_markers(citation.quote), citation, False)]

    def reduce(self, found: Sequence[Statement], sections: Sequence[Section]) -> list[Statement]:
        """About half of the statements, at least as many as the summary may have."""
        groups = [found[start : start + self.config.group] for start in range(0, len(found), self.config.group)]
        wanted = max(self.config.sentences, math.ceil(len(found) / 2))
        kept: list[Statement] = []
        seen = 0
        for group in groups:
            seen += len(group)
            room = seen * wanted // len(found) - len(kept)  # by size, so that all groups together keep `wanted`
            kept += self._of_group(group, room, sections)
        return kept

    def _of_group(self, group: Sequence[Statement], room: int, sections: Sequence[Section]) -> list[Statement]:
        if len(group) <= room or not room:
            return list(group)[:room]
        passages = [
            Passage(Chunk(self.document.id, one.citation.start, one.citation.end), self.document) for one in group
        ]
        kept = self._written(" ".join(one.text for one in group), passages, room)
        left = [one for one in group if one.citation not in {held.citation for held in kept}]
        while len(kept) < room and left:
            cited = {_section_of(held, sections) for held in kept}
            fresh = [one for one in left if _section_of(one, sections) not in cited] or left
            chosen = fresh[self._central([one.text for one in fresh])]
            left.remove(chosen)
            kept.append(chosen)
        return kept

    def _written(self, text: str, passages: Sequence[Passage], most: int) -> list[Statement]:
        """What the model writes of `text` and the passages say; each span once."""
        ask = _ASK.get(self.language, _ASK["en"]).format(count=most)
        sampling = Sampling(max_tokens=self.config.max_tokens, seed=self.config.seed)
        request = Request((Message("system", ask), Message("user", text)), sampling)
        said = "".join(delta.text for delta in self.generate(request))
        kept: dict[Citation, Statement] = {}
        for start, end in split_sentences(said):
            citation = align(said[start:end], passages)
            if citation is None or not is_readable(citation.quote) or not verify(citation, self.document):
                continue
            kept.setdefault(citation, Statement(strip_markers(said[start:end]), citation, True))
        return list(kept.values())[:most]

    def _central(self, texts: Sequence[str]) -> int:
        """The text nearest to the mean of all."""
        vectors = self.embedder.embed(texts)
        return int(np.argmax(vectors @ vectors.mean(axis=0)))


def _pieces(document: Document, sections: Sequence[Section], most: int) -> Iterator[Chunk]:
    """Whole sections joined, or parts of long ones cut between sentences, of at most `most` characters.

    A single sentence may be longer.
    """
    spans: list[tuple[int, int]] = []
    for section in sections:
        parts = [(section.start, section.end)]
        if section.end - section.start > most:
            parts = _sentences(document, section.start, section.end)
        spans += parts
    start, end = spans[0]
    for first, last in spans[1:]:
        if last - start > most:
            yield Chunk(document.id, start, end)
            start = first
        end = last
    yield Chunk(document.id, start, end)


def _sentences(document: Document, start: int, end: int) -> list[tuple[int, int]]:
    """Spans in the document of the sentences between two places that read as statements."""
    spans = [(start + first, start + last) for first, last in split_sentences(document.text[start:end])]
    return [span for span in spans if is_readable(document.text[slice(*span)])]


def _within(section: Section, statement: Statement) -> bool:
    return section.start <= statement.citation.start < section.end


def _section_of(statement: Statement, sections: Sequence[Section]) -> int:
    return next((place for place, one in enumerate(sections) if _within(one, statement)), -1)
