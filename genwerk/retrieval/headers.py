"""Contextual headers: a chunk is embedded under its document's title and the path of its sections.

Source: after Anthropic (2024), Contextual retrieval, with titles and headings in place of a model's words.

    embedded    title > section > subsection          searched by words, shown and cited     the chunk alone

                text of the chunk

Chosen:   a header holds what the chunk does not say itself: headings that stand in the chunk are left out, and of a
          chunk over several sections it is the path they share. Where header and chunk have more tokens than the
          encoder's window, headings between title and chunk go first, then the nearest one, then the title; the chunk
          is never shortened.
Left out: a sentence about each chunk by a language model.
Try it:   genwerk index build ./docs --headers
"""

from __future__ import annotations

from collections.abc import Sequence

from genwerk.core.types import Chunk, Document
from genwerk.data.sections import section_paths, shared_path, split_sections, title_of
from genwerk.retrieval.chunking import CountTokens

__all__ = ["Headers", "header_parts"]


class Headers:
    """Texts to embed, of at most `max_tokens` tokens unless a chunk has more by itself."""

    def __init__(self, count_tokens: CountTokens, max_tokens: int) -> None:
        self._count_tokens, self._max_tokens = count_tokens, max_tokens

    def __call__(self, document: Document, chunks: Sequence[Chunk]) -> list[str]:
        """Header and text of each chunk; `chunks` are the document's, in order."""
        headers = header_parts(document, chunks)
        bodies = [document.text[chunk.start : chunk.end] for chunk in chunks]
        texts = list(map(_joined, headers, bodies))
        long = self._too_long(texts, range(len(texts)))
        while long:
            for place in long:
                headers[place].pop(1 if len(headers[place]) > 1 else 0)
                texts[place] = _joined(headers[place], bodies[place])
            long = self._too_long(texts, [place for place in long if headers[place]])
        return texts

    def _too_long(self, texts: Sequence[str], places: Sequence[int]) -> list[int]:
        counts = self._count_tokens([texts[place] for place in places])
        return [place for place, count in zip(places, counts, strict=True) if count > self._max_tokens]


def header_parts(document: Document, chunks: Sequence[Chunk]) -> list[list[str]]:
    """Of each chunk the document's title and the headings it stands under, outermost first."""
    sections = split_sections(document)
    paths = section_paths(sections)
    parts, first = [], 0
    for chunk in chunks:
        while sections[first].end <= chunk.start:
            first += 1
        last = first
        while last + 1 < len(sections) and sections[last + 1].start < chunk.end:
            last += 1
        above = [section.title for section in shared_path(paths[first : last + 1]) if section.start < chunk.start]
        titles = [title_of(document), *above]
        parts.append([title for place, title in enumerate(titles) if title and title not in titles[:place]])
    return parts


def _joined(header: Sequence[str], body: str) -> str:
    return f"{' > '.join(header)}\n\n{body}" if header else body
