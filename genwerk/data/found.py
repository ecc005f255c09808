"""What every reader of sequences hands on: tokens, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FoundSequence", "Split"]

Split = Literal["", "train", "heldout"]


@dataclass(frozen=True, slots=True)
class FoundSequence:
    """A sequence as it was found: where, its tokens, of which class, and on which side its source puts it."""

    source: str
    tokens: tuple[str, ...]
    label: str = ""
    split: Split = ""
