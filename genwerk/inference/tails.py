"""Cache blocks that are filled in part, by what stands before them: the last block of a prompt and its answers.

A tail grows at its end only, and only its owner lets it grow. Who begins with the same tokens may read the positions
they have in common, and gets a copy of the block before writing behind them, or becomes the owner where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

__all__ = ["Tail", "Tails"]


@dataclass(slots=True)
class Tail:
    """The tokens whose keys and values are in a block, and who may write behind them: the id of a table."""

    key: bytes
    adapter: str | None
    tokens: list[int]
    owner: int | None


class Match(NamedTuple):
    """A block whose first `positions` are what was looked for; `free` where that is all of it, and it is nobody's."""

    block: int
    positions: int
    free: bool


@dataclass
class Tails:
    """Tails by block and by the hash of everything before them. Not safe among threads."""

    _of: dict[int, Tail] = field(default_factory=dict)
    _behind: dict[bytes, list[int]] = field(default_factory=dict)

    def __contains__(self, block: object) -> bool:
        return block in self._of

    def __iter__(self) -> Iterator[int]:
        return iter(self._of)

    def get(self, block: int) -> Tail | None:
        """The tail in `block`."""
        return self._of.get(block)

    def add(self, block: int, tail: Tail) -> None:
        """Make a tail findable."""
        self._of[block] = tail
        self._behind.setdefault(tail.key, []).append(block)

    def drop(self, block: int) -> None:
        """Let it not be found again."""
        tail = self._of.pop(block, None)
        if tail is not None:
            blocks = self._behind[tail.key]
            blocks.remove(block)
            if not blocks:
                del self._behind[tail.key]

    def of_adapter(self, adapter: str | None) -> list[int]:
        """Blocks whose tails were computed with `adapter`."""
        return [block for block, tail in self._of.items() if tail.adapter == adapter]

    def find(self, key: bytes, tokens: Sequence[int]) -> Match | None:
        """The tail behind `key` that has most of its beginning in common with `tokens`; of equals one that is free,
        which needs no copy."""
        matches = (self._match(block, tokens) for block in self._behind.get(key, ()))
        best = max(matches, key=lambda match: (match.positions, match.free), default=None)
        return best if best is not None and best.positions else None

    def _match(self, block: int, tokens: Sequence[int]) -> Match:
        tail = self._of[block]
        same = takewhile(lambda pair: pair[0] == pair[1], zip(tail.tokens, tokens, strict=False))
        shared = sum(1 for _ in same)
        return Match(block, shared, tail.owner is None and shared == len(tail.tokens))
