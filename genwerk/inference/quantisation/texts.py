"""Windows of tokens from a team's documents: what is calibrated on, and what is only measured on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from genwerk.core.errors import DataError
from genwerk.core.types import Document
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["Windows", "document_windows"]

_STRETCH = 8  # characters taken from a document at a time, per token of a window


@dataclass(frozen=True)
class Windows:
    """Windows of one length, and the ids of the documents they come from."""

    tokens: tuple[tuple[int, ...], ...]
    documents: frozenset[str]


def document_windows(
    documents: Sequence[Document], tokenizer: Tokenizer, *, split: str, count: int, length: int, seed: int
) -> Windows:
    """`count` windows of `length` tokens from stretches of documents of this split in turn; fewer where text runs out.

    The same documents and seed give the same windows. Raises DataError where not one can be filled.
    """
    there = sorted((item for item in documents if item.metadata.get("split", "train") == split), key=lambda x: x.id)
    random.Random(seed).shuffle(there)
    end = min(tokenizer.eos_ids, default=None)
    ids: list[int] = []
    used: set[str] = set()
    size, start = _STRETCH * length, 0
    while len(ids) < count * length and any(len(item.text) > start for item in there):
        for item in there:
            text = item.text[start : start + size]
            if len(ids) < count * length and text.strip():
                ids += tokenizer.encode(text) + ([] if end is None else [end])
                used.add(item.id)
        start += size
    whole = min(count, len(ids) // length)
    if whole == 0:
        raise DataError(
            f"the {split} documents have {len(ids)} tokens, fewer than one window of {length}",
            remedy="Add documents, or choose a smaller `length`.",
        )
    return Windows(tuple(tuple(ids[at * length : (at + 1) * length]) for at in range(whole)), frozenset(used))
