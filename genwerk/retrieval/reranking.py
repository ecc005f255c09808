"""How well each of some texts answers a query, in [-1, 1] or [0, 1]: by a cross-encoder, or by an embedder's vectors.

Sources: Nogueira and Cho (2019) for the cross-encoder (models/cross_encoder.py); Reimers and Gurevych (2019) for
vectors, whose score is their product.

Chosen:   a text longer than the window beside the query is read window by window, and its best window counts: it is
          never cut in silence. At least half of the window is for the text; a longer query is refused. Scores do not
          depend on the other texts.
Try it:   pytest tests/retrieval/test_reranking.py
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import tokenizers

from genwerk.core.errors import RequestError
from genwerk.inference.encoding import EncodedText, Encoding, Turn
from genwerk.models.cross_encoder import CrossEncoder, load_cross_encoder, score_pairs
from genwerk.retrieval.embedding import Embedder
from genwerk.tokenizers.tokenizer import read_tokenizer

__all__ = ["Reranker", "Scored", "Scorer", "VectorScorer"]


@dataclass(frozen=True, slots=True)
class Scored:
    """`scores` (N,) float32 of N texts, and how many `tokens` were read for them, those of the query included."""

    scores: np.ndarray
    tokens: int


class Scorer(Protocol):
    """Scores texts for a query, higher for better. `user`: whose turn it takes."""

    def score(self, query: str, texts: Sequence[str], user: str = "") -> Scored: ...


class VectorScorer:
    """The likeness of the vectors of an embedder, in [-1, 1]."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def score(self, query: str, texts: Sequence[str], user: str = "") -> Scored:
        sequences = [*self._embedder.tokenize([query], asked=True), *self._embedder.tokenize(texts)]
        vectors = self._embedder.embed_tokens(sequences, user)
        likeness = (vectors[1:] * vectors[0]).sum(1)  # not a product of matrices, which adds up as their size says
        return Scored(likeness, sum(map(len, sequences)))


class Reranker:
    """A cross-encoder with its tokenizer: scores in [0, 1]. Any thread may call it.

    window      most tokens of query and text together, [CLS] and twice [SEP] included.
    tokenizer   one that cuts nothing, as `read_tokenizer` gives it.
    """

    def __init__(self, model: CrossEncoder, tokenizer: tokenizers.Tokenizer, *, name: str) -> None:
        self.name, self.window = name, model.encoder.config.max_tokens
        self._reader, self._tokenizer = tokenizer, copy.deepcopy(tokenizer)
        self._tokenizer.enable_truncation(self.window, strategy="only_second")  # the rest comes as further windows
        self._encoding = Encoding(
            lambda pairs: score_pairs(model, [pair.tokens for pair in pairs], [pair.types for pair in pairs]),
            steady=model.encoder.steady,
        )

    @classmethod
    def load(cls, path: Path) -> Reranker:
        """Read a Hugging Face directory of a cross-encoder. Raises ModelError for missing or damaged files."""
        path = Path(path)
        return cls(load_cross_encoder(path), read_tokenizer(path), name=path.name)

    def share(self, turn: Turn) -> None:
        """Compute only inside `turn()`, such as an engine's `between_steps`, from now on."""
        self._encoding.share(turn)

    def score(self, query: str, texts: Sequence[str], user: str = "") -> Scored:
        """Scores in [0, 1]. Raises RequestError for a query that takes more than half of the window."""
        if not texts:
            return Scored(np.empty(0, dtype=np.float32), 0)
        pairs = self._pairs(query, texts)
        joined = [pair for windows in pairs for pair in windows]
        scores = self._encoding.run(joined, user).numpy()
        ends = np.cumsum([len(windows) for windows in pairs])
        best = np.array([part.max() for part in np.split(scores, ends[:-1])], dtype=np.float32)
        return Scored(best, sum(len(pair.tokens) for pair in joined))

    def _pairs(self, query: str, texts: Sequence[str]) -> list[list[EncodedText]]:
        """The query with each window of each text."""
        half, length = self.window // 2, len(self._reader.encode(query, add_special_tokens=False).ids)
        if length > half:
            what = f"the query has {length} tokens, more than {half}: half of what {self.name} reads of query and text"
            remedy = "Ask a shorter query."
            raise RequestError(what, param="query", code="context_length_exceeded", remedy=remedy)
        found = self._tokenizer.encode_batch([(query, text) for text in texts])
        return [[EncodedText(part.ids, part.type_ids) for part in (first, *first.overflowing)] for first in found]
