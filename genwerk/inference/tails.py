"""Cache blocks that are filled in part, by what stands before them: the last block of a prompt and its answers.

A tail grows at its end only, and only its owner lets it grow. Who begins with the same tokens may read the positions
they have in common, and gets a copy of the block before writing behind them, or becomes the owner where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
    """A block whose first `positions` are what was looked for."""

    block: int
    positions: int


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
        """The tail behind `key` that has most of its beginning in common with `tokens`; of equals one that is whole
        and nobody's, which needs no copy."""
        best, rank = None, (0, False)
        for block in self._behind.get(key, ()):
            tail = self._of[block]
            if not tokens or tail.tokens[0] != tokens[0]:
                continue
            shared = _common(tail.tokens, tokens)
            mine = (shared, tail.owner is None and shared == len(tail.tokens))
            if shared and mine > rank:
                best, rank = Match(block, shared), mine
        return best


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                min(len(one), len(other)))  # fmt: skip
