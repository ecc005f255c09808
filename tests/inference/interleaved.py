"""Streams that are read by turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["by_turns"]

Item = TypeVar("Item")


def by_turns(streams: Sequence[Iterator[Item]]) -> list[list[Item]]:
    """What each stream says, one item of each at a time until all have ended."""
    said: list[list[Item]] = [[] for _ in streams]
    live = list(range(len(streams)))
    while live:
        for number in tuple(live):
            if (item := next(streams[number], None)) is None:
                live.remove(number)
            else:
                said[number].append(item)
    return said
