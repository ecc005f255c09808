"""A sequence of tokens as a reader found it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FoundSequence", "Split"]

Split = Literal["", "train", "heldout"]


@dataclass(frozen=True, slots=True)
class FoundSequence:
    """Where it was, its tokens, of which class, and on which side its source puts it."""

    source: str
    tokens: tuple[str, ...]
    label: str = ""
    split: Split = ""
