"""Embeddings: texts to vectors of length 1 whose product is their likeness in meaning.

Source: Reimers and Gurevych (2019), Sentence-BERT; the network is `models/encoder.py`.

    likeness(a, b) = v_a · v_b in [-1, 1]

Chosen:   texts of all callers go through one line (`inference/encoding.py`), in batches without padding; a text gives
          the same bytes in any company. A text longer than the encoder's window is embedded window by window and
          averaged by length: it is never cut in silence. Where it pays, the native kernels compute in words of 16 bits
          (`inference/native/encoder.py`); their vectors are those of float32 to a cosine of 0.99999, so that both may
          be compared. Words that a model expects before a question or a passage are put there (`Prompts`).
Left out: quantised vectors, other devices than the encoder's.
Try it:   python benchmarks/embed.py --texts 64
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import tokenizers

from genwerk.core.hashing import digest, sha256_file
from genwerk.core.progress import say
from genwerk.inference.encoding import EncodedText, Encoding, Turn
from genwerk.inference.native.encoder import NativeEncoder
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.models.e5_file import is_e5_file, read_e5
from genwerk.models.encoder import Encoder, embed_tokens, load_encoder
from genwerk.models.prompts import NO_PROMPTS, Prompts, read_prompts
from genwerk.tokenizers.tokenizer import read_tokenizer

__all__ = ["Embedder", "Precision", "TextEncoder", "plan_batches"]

Precision = Literal["auto", "int16", "float32"]

_FILES = ("config.json", "model.safetensors", "sentence_bert_config.json", "tokenizer.json")
_ROWS_OF_A_CORE = 1024  # tokens of a step in int16, about a tenth of a second
_REPORTED = 128  # texts after which `embed_batches` tells how far it is


class TextEncoder(Protocol):
    """What search needs of an embedder: its identity and vectors (N, dimension) float32 of length 1 of questions."""

    @property
    def identity(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    def embed(self, texts: Sequence[str]) -> np.ndarray: ...


class Embedder:
    """An encoder with its tokenizer. Any thread may call it.

    name        of the model; identity is a hash of its files: vectors of two identities cannot be compared.
    precision   in which it computes, `int16` or `float32`.
    window      longest input in tokens, [CLS], [SEP] and the prompt included.
    tokenizer   one that cuts nothing, as `read_tokenizer` gives it.
    """

    def __init__(
        self,
        encoder: Encoder | NativeEncoder,
        tokenizer: tokenizers.Tokenizer,
        *,
        name: str,
        identity: str,
        prompts: Prompts = NO_PROMPTS,
    ) -> None:
        self._tokenizer, self._prompts = tokenizer, prompts
        self._encoding = _encoding(encoder)
        self.name, self.identity = name, identity
        self.dimension = encoder.config.d_model
        self.window = encoder.config.max_tokens
        self.precision = "int16" if isinstance(encoder, NativeEncoder) else "float32"
        bare = tokenizer.encode("").ids  # what the tokenizer puts around every text
        self._prefix, self._suffix = bare[: (len(bare) + 1) // 2], bare[(len(bare) + 1) // 2 :]

    @classmethod
    def load(cls, path: Path, precision: Precision = "auto") -> Embedder:
        """Read a Hugging Face directory of an encoder, or a file of e5 (models/e5_file.py).

        precision   auto: int16 where the native kernels pay. Where they cannot be had it is float32, which is said.
        Raises ModelError for missing or damaged files.
        """
        found = _read_files(Path(path))
        wanted = precision == "int16" or (precision == "auto" and NativeEncoder.pays())
        encoder = (_in_words(found.encoder) if wanted else None) or found.encoder(trainable=False)
        return cls(encoder, found.tokenizer, name=Path(path).name, identity=found.identity, prompts=found.prompts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Length of each passage in tokens, special tokens and prompt included."""
        return [len(tokens) for tokens in self.tokenize(texts)]

    def tokenize(self, texts: Sequence[str], *, asked: bool = False) -> list[list[int]]:
        """Token numbers of each passage, special tokens included, whole; `asked`: they are questions."""
        prompt = self._prompts.query if asked else self._prompts.passage
        return [found.ids for found in self._tokenizer.encode_batch_fast([prompt + text for text in texts])]

    def share(self, turn: Turn) -> None:
        """Compute only inside `turn()`, such as an engine's `between_steps`, from now on."""
        self._encoding.share(turn)

    def embed(self, texts: Sequence[str], user: str = "") -> np.ndarray:
        """Vectors (N, dimension) float32 of length 1 of questions, or of texts that are compared with one another, in
        their order; those of passages are `embed_tokens(tokenize(passages))`. `user`: whose turn it takes."""
        return self.embed_tokens(self.tokenize(texts, asked=True), user)

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


class _Load(Protocol):
    def __call__(self, *, trainable: bool) -> Encoder: ...


class _Files(NamedTuple):
    """What a model consists of; `identity` is a hash of all files."""

    tokenizer: tokenizers.Tokenizer
    prompts: Prompts
    identity: str
    encoder: _Load


def _read_files(path: Path) -> _Files:
    if is_e5_file(path):
        file = read_e5(path)
        load = partial(load_encoder, path, config=file.config, tensors=file.tensors())
        return _Files(file.tokenizer(), file.prompts, digest({path.name: sha256_file(path)}), load)
    hashes = {name: sha256_file(path / name) for name in _FILES if (path / name).is_file()}
    prompts = read_prompts(path)
    identity = digest(hashes | ({"prompts": list(prompts)} if prompts != NO_PROMPTS else {}))
    return _Files(read_tokenizer(path), prompts, identity, partial(load_encoder, path))


def _in_words(load: _Load) -> NativeEncoder | None:
    """The encoder in int16, or None, which is said, where that cannot be had."""
    try:
        return NativeEncoder(load(trainable=True))
    except NativeUnavailableError as error:
        say(f"embedding in float32 instead of int16: {error.what}", style="yellow")
        return None


def _encoding(encoder: Encoder | NativeEncoder) -> Encoding:
    """The line for an encoder. The native one shares texts among cores, so its steps grow with them."""
    if isinstance(encoder, NativeEncoder):
        rows = _ROWS_OF_A_CORE * encoder.threads
        return Encoding(lambda texts: encoder.embed([text.tokens for text in texts]), max_rows=rows, few=0)
    return Encoding(lambda texts: embed_tokens(encoder, [text.tokens for text in texts]), steady=encoder.steady)


def plan_batches(lengths: Sequence[int], batch_texts: int) -> list[list[int]]:
    """Places of texts in batches of at most `batch_texts`, longest first; equal lengths keep their order."""
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    return [order[start : start + batch_texts] for start in range(0, len(order), batch_texts)]
