"""Embeddings: texts to vectors of length 1 whose product is their likeness in meaning.

Source: Reimers and Gurevych (2019), Sentence-BERT; the network is `models/encoder.py`.

    likeness(a, b) = v_a · v_b in [-1, 1]

Chosen:   texts of all callers go through one line (`inference/encoding.py`), in batches without padding; a text gives
          the same bytes in any company. A text longer than the encoder's window is embedded window by window and
          averaged by length: it is never cut in silence.
Left out: prompts for queries (MiniLM has none), quantised vectors, other devices than the encoder's.
Try it:   python benchmarks/embed.py --texts 64
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tokenizers

from genwerk.core.hashing import digest, sha256_file
from genwerk.inference.encoding import EncodedText, Encoding, Turn
from genwerk.models.encoder import Encoder, embed_tokens, load_encoder
from genwerk.tokenizers.tokenizer import read_tokenizer

__all__ = ["Embedder", "TextEncoder", "plan_batches"]

_FILES = ("config.json", "model.safetensors", "sentence_bert_config.json", "tokenizer.json")
_REPORTED = 128  # texts after which `embed_batches` tells how far it is


class TextEncoder(Protocol):
    """What search needs of an embedder: its identity and vectors (N, dimension) float32 of length 1."""

    @property
    def identity(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    def embed(self, texts: Sequence[str]) -> np.ndarray: ...


class Embedder:
    """An encoder with its tokenizer. Any thread may call it.

    name        of the model; identity is a hash of its files: vectors of two identities cannot be compared.
    window      longest input in tokens, [CLS] and [SEP] included.
    tokenizer   one that cuts nothing, as `read_tokenizer` gives it.
    """

    def __init__(self, encoder: Encoder, tokenizer: tokenizers.Tokenizer, *, name: str, identity: str) -> None:
        self._tokenizer = tokenizer
        self._encoding = Encoding(
            lambda texts: embed_tokens(encoder, [text.tokens for text in texts]), steady=encoder.steady
        )
        self.name, self.identity = name, identity
        self.dimension = encoder.config.d_model
        self.window = encoder.config.max_tokens
        bare = tokenizer.encode("").ids  # what the tokenizer puts around every text
        self._prefix, self._suffix = bare[: (len(bare) + 1) // 2], bare[(len(bare) + 1) // 2 :]

    @classmethod
    def load(cls, path: Path) -> Embedder:
        """Read a Hugging Face directory of an encoder. Raises ModelError for missing or damaged files."""
        path = Path(path)
        encoder = load_encoder(path)
        hashes = {name: sha256_file(path / name) for name in _FILES if (path / name).is_file()}
        return cls(encoder, read_tokenizer(path), name=path.name, identity=digest(hashes))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Length of each text in tokens, special tokens included."""
        return [len(found.ids) for found in self._tokenizer.encode_batch_fast(list(texts))]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each text, special tokens included, whole."""
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts))]

    def share(self, turn: Turn) -> None:
        """Compute only inside `turn()`, such as an engine's `between_steps`, from now on."""
        self._encoding.share(turn)

    def embed(self, texts: Sequence[str], user: str = "") -> np.ndarray:
        """Vectors (N, dimension) float32 of length 1, in the order of `texts`. `user`: whose turn it takes."""
        return self.embed_tokens(self.tokenize(texts), user)

    def embed_tokens(self, sequences: Sequence[Sequence[int]], user: str = "") -> np.ndarray:
        """The same of texts that `tokenize` has read."""
        vectors = np.empty((len(sequences), self.dimension), dtype=np.float32)
        for places, found in self.embed_batches(sequences, user):
            vectors[places] = found
        return vectors

    def embed_batches(
        self, sequences: Sequence[Sequence[int]], user: str = ""
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """(places in `sequences`, their vectors) part by part, longest texts first."""
        lengths = [len(sequence) for sequence in sequences]
        long = [place for place, length in enumerate(lengths) if length > self.window]
        for place in long:
            yield [place], self._embed_long(sequences[place], user)[None]
        short = [place for place, length in enumerate(lengths) if length <= self.window]
        for batch in plan_batches([lengths[place] for place in short], _REPORTED):
            places = [short[number] for number in batch]
            yield places, self._encoding.run([EncodedText(sequences[place]) for place in places], user).numpy()

    def _embed_long(self, sequence: Sequence[int], user: str) -> np.ndarray:
        """Mean of the vectors of consecutive windows, weighted by their length, scaled to length 1."""
        inner = sequence[len(self._prefix) : len(sequence) - len(self._suffix)]
        room = self.window - len(self._prefix) - len(self._suffix)
        parts = [inner[start : start + room] for start in range(0, len(inner), room)]
        vectors = self.embed_tokens([[*self._prefix, *part, *self._suffix] for part in parts], user)
        mean = np.average(vectors, axis=0, weights=[len(part) for part in parts])
        return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def plan_batches(lengths: Sequence[int], batch_texts: int) -> list[list[int]]:
    """Places of texts in batches of at most `batch_texts`, longest first; equal lengths keep their order."""
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    return [order[start : start + batch_texts] for start in range(0, len(order), batch_texts)]
