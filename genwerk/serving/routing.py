"""Which of several replicas answers a prompt: the one that most likely has read its beginning.

Source: cache-aware load balancing of SGLang's router (Zheng et al., 2024), on the hash chain of blocks.py.

    held_r     keys of blocks that replica r was given, the longest unused forgotten first
    match_r    how many keys of the prompt's chain, from its first on, are in held_r
    favourite  the replica with the largest match; among equals the one with the fewest answers in progress
    choice     the favourite, unless it has more than `slack` answers in progress more than the least busy one: then
               that one

A conversation's next prompt begins with its last prompt and answer, so it goes where those were computed, and only what
is new is read. Where nothing is known, the least busy replica is taken, and among equals the one that holds least.

Chosen:   what a replica holds is guessed from what it was sent, so that routing asks nobody; a wrong guess costs time
          only. Measured in docs/decisions/0007-routing.md.
Try it:   pytest tests/serving/test_routing.py
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence

__all__ = ["Router"]

SLACK = 4
KEPT = 16384  # keys per replica: half a million tokens


class Router:
    """Chooses among `replicas`, which are known by their numbers. Not safe among threads."""

    def __init__(self, replicas: int, *, slack: int = SLACK, kept: int = KEPT) -> None:
        self._slack, self._kept = slack, kept
        self._held: list[OrderedDict[bytes, None]] = [OrderedDict() for _ in range(replicas)]

    def choose(self, chain: Sequence[bytes], busy: Sequence[int], usable: Collection[int]) -> int:
        """The replica for a prompt.

        chain    keys of the prompt's full blocks.
        busy     answers in progress, by replica.
        usable   replicas to choose among, at least one.
        """
        matches = {replica: self.match(chain, replica) for replica in usable}
        favourite = min(usable, key=lambda one: (-matches[one], busy[one], len(self._held[one]), one))
        idlest = min(usable, key=lambda one: (busy[one], -matches[one], len(self._held[one]), one))
        return idlest if busy[favourite] - busy[idlest] > self._slack else favourite

    def match(self, chain: Sequence[bytes], replica: int) -> int:
        """How many blocks of the prompt this replica most likely holds."""
        held = self._held[replica]
        return next((place for place, key in enumerate(chain) if key not in held), len(chain))

    def learn(self, chain: Sequence[bytes], replica: int) -> None:
        """This replica has been given these blocks."""
        held = self._held[replica]
        for key in reversed(chain):  # the beginning last: it is of use to most
            held[key] = None
            held.move_to_end(key)
        while len(held) > self._kept:
            held.popitem(last=False)

    def forget(self, replica: int) -> None:
        """This replica has begun anew and holds nothing."""
        self._held[replica].clear()
