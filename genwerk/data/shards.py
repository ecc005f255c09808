"""Token shards: one file of token numbers, read through a memory map, so that training data may be larger than memory.

    magic (8 bytes) | bytes per token (uint32) | reserved (uint32) | count (uint64) | tokens (uint16 or uint32)

Documents follow each other, each ended by the end-of-sequence token.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genwerk.core.atomic import explained
from genwerk.core.errors import DataError
from genwerk.core.progress import track
from genwerk.core.types import Document

_MAGIC = b"GWTOK1\0\0"
_HEADER = struct.Struct("<8sIIQ")

TokenArray = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """What a shard holds; `bytes` is the UTF-8 size of its text, for bits per byte."""

    documents: int
    tokens: int
    bytes: int


def write_shards(token_arrays: Iterable[TokenArray], path: Path, dtype: npt.DTypeLike = np.uint16) -> int:
    """Write arrays of token numbers one after the other to `path`, atomically; returns the number of tokens.

    Raises DataError where a token number does not fit `dtype` (uint16 or uint32), WorkspaceError for a full disk.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    if kind.name not in {"uint16", "uint32"}:
        raise DataError(f"tokens cannot be stored as {kind.name}", where=str(path.name), remedy="Use uint16 or uint32.")
    temporary = path.with_name(path.name + ".part")
    count = 0
    with explained(path):
        with temporary.open("wb") as stream:
            stream.write(_HEADER.pack(_MAGIC, kind.itemsize, 0, 0))
            for tokens in token_arrays:
                if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) <= np.iinfo(kind).max:
                    raise DataError(
                        f"token {int(tokens.max())} does not fit {kind.name}",
                        where=path.name,
                        remedy="Store as uint32.",
                    )
                stream.write(np.ascontiguousarray(tokens, dtype=kind).tobytes())
                count += len(tokens)
            stream.seek(0)
            stream.write(_HEADER.pack(_MAGIC, kind.itemsize, 0, count))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    return count


def tokenize_documents(
    documents: Sequence[Document],
    encode: Callable[[str], list[int]],
    eos_id: int,
    out: Path,
    *,
    dtype: npt.DTypeLike = np.uint16,
) -> TokenCounts:
    """Write the tokens of `documents` to the shard `out`, each document ended by `eos_id`."""
    size = 0

    def arrays() -> Iterator[TokenArray]:
        nonlocal size
        with track(f"tokenising {out.stem}", total=len(documents), unit="documents") as bar:
            for document in documents:
                size += len(document.text.encode("utf-8"))
                yield np.asarray([*encode(document.text), eos_id], dtype=np.int64)
                bar.advance()

    tokens = write_shards(arrays(), out, dtype)
    return TokenCounts(len(documents), tokens, size)


class TokenDataset:
    """A shard on disk as an array of token numbers. Raises DataError where the file is not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as stream:
                head = stream.read(_HEADER.size)
        except OSError as error:
            raise DataError(
                f"no token shard: {error}", where=str(path), remedy="Run the tokenise step again."
            ) from error
        magic, width, _, count = _HEADER.unpack(head) if len(head) == _HEADER.size else (b"", 0, 0, 0)
        if magic != _MAGIC or width not in (2, 4):
            raise DataError("not a token shard", where=str(path), remedy="Run the tokenise step again.")
        if path.stat().st_size != _HEADER.size + width * count:
            raise DataError("the token shard is truncated", where=str(path), remedy="Run the tokenise step again.")
        kind = np.dtype("<u2" if width == 2 else "<u4")
        self.tokens: TokenArray = (
            np.memmap(path, dtype=kind, mode="r", offset=_HEADER.size, shape=(count,)) if count else np.zeros(0, kind)
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def sample_batch(
        self, batch: int, T: int, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Windows at random places: inputs x (batch, T) and targets y (batch, T), y being x one token later."""
        if len(self) < T + 1:
            raise DataError(
                f"{len(self)} tokens are fewer than one window of {T + 1}",
                where=str(self.path),
                remedy="Add documents, or choose a shorter context.",
            )
        starts = generator.integers(0, len(self) - T, size=batch)
        windows = np.stack([self.tokens[start : start + T + 1] for start in starts]).astype(np.int64)  # (B, T + 1)
        return windows[:, :-1], windows[:, 1:]
