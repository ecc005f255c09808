"""How an index is made of documents: which chunker, under which headers, and what is read where a chunk is found.

    IndexConfig.chunker_for(embedder)    document → chunks that tile it: what is searched
    IndexConfig.texts_for(embedder)      document, chunks → texts: what is embedded
    IndexConfig.reading()                document, chunk → the span that is read; None: the chunk

An index carries its config in its description, so that what is added later is made alike and what is found is read
as it was meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self

from pydantic import model_validator

from genwerk.core.config import Config, Field
from genwerk.core.types import Chunk, Document
from genwerk.retrieval.chunking import Chunker, Limits, RecursiveChunker
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.headers import Headers
from genwerk.retrieval.parent_child import ChildChunker, Parents
from genwerk.retrieval.semantic import SemanticChunker
from genwerk.retrieval.sentence_window import SentenceChunker, SentenceWindow
from genwerk.retrieval.structural import StructuralChunker

__all__ = ["CHUNKERS", "ChunkerConfig", "IndexConfig", "Reading"]

ChunkerName = Literal["recursive", "structural", "semantic", "window", "parent"]
Reading = Callable[[Document, Chunk], Chunk]
TextsFor = Callable[[Document, Sequence[Chunk]], list[str]]

CHUNKERS: dict[ChunkerName, tuple[str, ...]] = {  # and the keys that each is told by
    "recursive": (),
    "structural": ("level",),
    "semantic": ("percentile",),
    "window": ("sentences", "around"),
    "parent": ("child_chars",),
}


class ChunkerConfig(Config):
    """Which chunker, and what it is told. Keys of another chunker are refused."""

    chunker: ChunkerName = Field(
        "recursive", description="any text has paragraphs and sentences; or structural, semantic, window, parent"
    )
    headers: bool = Field(
        False, description="embed chunks under title and headings; a document that moves is then embedded anew"
    )
    level: int = Field(2, ge=0, le=9, description="structural: chapters and sections always start a chunk")
    percentile: float = Field(80, ge=0, le=100, description="semantic: of the distances; one sentence in five ends one")
    sentences: int = Field(1, ge=1, description="window: sentences searched as one; a vector of one says one thing")
    around: int = Field(3, ge=0, description="window: sentences read on either side; together about 700 characters")
    child_chars: int = Field(250, ge=20, description="parent: longest piece that is searched; about two sentences")

    @model_validator(mode="after")
    def _belong(self) -> Self:
        for name, keys in CHUNKERS.items():
            for key in keys if name != self.chunker else ():
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is for the chunker {name}, and the chunker is {self.chunker}")
        return self


class IndexConfig(ChunkerConfig):
    """How documents are cut into chunks."""

    max_chars: int = Field(700, ge=50, description="longest passage in characters; the encoder's window limits it too")
    min_chars: int = Field(200, ge=0, description="a section shorter than this is joined with the next one")

    @classmethod
    def of(cls, meta: Mapping[str, str]) -> Self:
        """That of an index that says of itself `meta`. Raises ConfigError for one of a later version."""
        _, _, values = meta.get("chunking", "").partition(" ")
        return cls.parse(json.loads(values or "{}"), where="the index's description")

    @property
    def described(self) -> str:
        """What an index says of itself under `chunking`."""
        return f"{self.chunker} {json.dumps(self.model_dump(mode='json'), sort_keys=True)}"

    def chunker_for(self, embedder: Embedder) -> Chunker:
        """Cuts documents for this embedder."""
        limits = Limits(self.max_chars, self._min_chars, embedder.count_tokens, embedder.window)
        match self.chunker:
            case "recursive":
                return RecursiveChunker(limits)
            case "structural":
                return StructuralChunker(limits, self.level)
            case "semantic":
                return SemanticChunker(limits, embedder.embed, self.percentile)
            case "window":
                return SentenceChunker(limits, self.sentences)
            case "parent":
                return ChildChunker(limits, self.child_chars)

    def texts_for(self, embedder: Embedder) -> TextsFor:
        """What of a document's chunks is embedded: their text, with headers where those are asked for."""
        if self.headers:
            return Headers(embedder.count_tokens, embedder.window)
        return lambda document, chunks: [document.text[chunk.start : chunk.end] for chunk in chunks]

    def reading(self) -> Reading | None:
        """What is read where a chunk was found; None where it is the chunk itself."""
        if self.chunker == "window":
            return SentenceWindow(self.around, self.max_chars)
        return Parents(self.max_chars, self._min_chars) if self.chunker == "parent" else None

    @property
    def _min_chars(self) -> int:
        return min(self.min_chars, self.max_chars)
