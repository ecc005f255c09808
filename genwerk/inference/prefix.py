"""Prompts that begin alike share work: kept key-value caches, reused only where a cold run would hold the same bits.

Floating-point results depend on how many tokens go through the network at once. Prompts are therefore always read in
blocks that begin at multiples of BLOCK, and only whole blocks of a *prompt* are reused: they were computed by the same
products that a cold run would do. The rest of a prompt, and everything an answer added, is computed again.

Chosen:   one sequence owns a cache at a time; a request takes the kept cache that shares most blocks with its prompt
          and gives it back. Adapters never share: their keys and values differ.
Left out: sharing one cache among live sequences (paged blocks).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from genwerk.models.kv_cache import KVCache

BLOCK = 256


@dataclass(frozen=True, slots=True)
class Kept:
    """A cache at rest: the `tokens` (whole blocks of a prompt) it holds under `adapter`."""

    adapter: str | None
    tokens: tuple[int, ...]
    cache: KVCache


class PrefixStore:
    """Caches at rest, at most `max_tokens` positions together; the longest unused leave first. Safe among threads."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._kept: list[Kept] = []  # oldest first
        self._guard = threading.Lock()

    def take(self, adapter: str | None, prompt: Sequence[int]) -> KVCache | None:
        """The kept cache that shares most whole blocks with `prompt`, truncated to them, or None.

        At least the last token of the prompt is left to compute, because its logits are needed.
        """
        with self._guard:
            shared = [_shared(kept, adapter, prompt) for kept in self._kept]
            length = max(shared, default=0)
            if length == 0:
                return None
            kept = self._kept.pop(shared.index(length))
        kept.cache.truncate(length)
        return kept.cache

    def give(self, adapter: str | None, prompt: Sequence[int], cache: KVCache) -> None:
        """Keep the whole blocks of `prompt` that `cache` holds."""
        length = min(len(prompt), cache.length) // BLOCK * BLOCK
        if length == 0 or length > self.max_tokens:
            return
        cache.truncate(length)
        with self._guard:
            self._kept.append(Kept(adapter, tuple(prompt[:length]), cache))
            while sum(len(kept.tokens) for kept in self._kept) > self.max_tokens:
                self._kept.pop(0)

    def clear(self) -> None:
        """Forget every prompt."""
        with self._guard:
            self._kept.clear()


def _shared(kept: Kept, adapter: str | None, prompt: Sequence[int]) -> int:
    """Positions of whole blocks that `kept` and `prompt` share, short of the prompt's last token."""
    if kept.adapter != adapter:
        return 0
    limit = min(len(kept.tokens), len(prompt) - 1)
    for start in range(0, limit, BLOCK):
        stop = start + BLOCK
        if stop > limit or kept.tokens[start:stop] != tuple(prompt[start:stop]):
            return start
    return limit // BLOCK * BLOCK
