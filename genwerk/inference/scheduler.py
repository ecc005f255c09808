"""Which tokens the next step computes: continuous batching with chunked prompts.

Sources: Yu et al. (2022), Orca; Kwon et al. (2023), vLLM; Agrawal et al. (2023), Sarathi (chunked prefill). Tokens
served per user (fair_share.py) decide who is next.

    1  every running answer gets its next token
    2  what is left of `max_rows` goes to prompts that are being read, then to waiting ones, the user with the fewest
       tokens served first
    3  where blocks run out, the youngest running sequence gives its own back and waits again (its tokens are computed
       once more later); the oldest always goes on, so every sequence ends

In all of this a lower `priority` comes before a higher one, and a waiting request takes the place and the blocks of a
running one that ranks behind it. So that nobody starves, a request gains one level in AGEING steps, until it ranks with
the best that are there; among equals the rules above decide.

Try it:   pytest tests/inference/test_scheduler.py
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from genwerk.inference.blocks import GONE, BlockManager
from genwerk.inference.fair_share import FairShare
from genwerk.inference.runner import BLOCK
from genwerk.inference.sequence import Sequence

__all__ = ["AGEING", "Scheduler", "Slice"]

AGEING = 16


@dataclass(frozen=True, slots=True)
class Slice:
    """Positions start..stop of a sequence, to be computed in this step, and tokens that may turn out to come after."""

    sequence: Sequence
    start: int
    stop: int
    draft: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        return self.stop - self.start + len(self.draft)


class Scheduler:
    """Not safe among threads.

    max_rows        most tokens of one step; raised where prompts can only be cut at multiples of `aligned`.
    max_sequences   most answers in progress at once.
    aligned         see `Runner`.
    """

    def __init__(self, blocks: BlockManager, *, max_rows: int, max_sequences: int, aligned: int = 1) -> None:
        self.blocks, self.aligned = blocks, aligned
        # Beside all answers there must be room for a piece of a prompt, or prompts would wait until the answers end.
        self.max_rows = max_rows if aligned == 1 else max(max_rows, aligned + max_sequences)
        self.max_sequences = max_sequences
        self.running: list[Sequence] = []  # in the order of their rank, then of arrival
        self.waiting: list[Sequence] = []
        self._arrivals = self._steps = self._best = 0
        self._served = FairShare()

    def add(self, sequence: Sequence) -> None:
        """Let `sequence` wait for its turn."""
        self._served.join(sequence.user, (other.user for other in self._live()))
        self._arrivals += 1
        sequence.arrival, sequence.since = self._arrivals, self._steps
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence, *, forget: bool = False) -> None:
        """Take a sequence out, finished or not; its blocks are free, and with `forget` not to be found again."""
        for line in (self.running, self.waiting):
            if sequence in line:
                line.remove(sequence)
        if sequence.table is not None:
            self.blocks.close(sequence.table, forget=forget)
            sequence.table = None
        if sequence.draft is not None:
            sequence.draft.release()

    def answering(self) -> list[Sequence]:
        """Running sequences whose next token is one step away."""
        return [one for one in self.running if one.computed == one.length - 1]

    def uses(self, adapter: str) -> bool:
        """Whether any sequence that has not ended is of this adapter."""
        return any(one.adapter == adapter for one in self._live())

    def plan(self) -> list[Slice]:
        """What the next step computes; empty when nothing can be done."""
        self._steps += 1
        self._best = min((one.priority for one in self._live()), default=0)
        self._claim()
        chosen: list[Slice] = []
        answering = self.answering()
        reading = [one for one in self.running if one.computed < one.length - 1]
        for sequence in [*answering, *reading]:
            self._choose(sequence, chosen)
        while self.waiting and len(self.running) < self.max_sequences and self._budget(chosen) > 0:
            sequence = min(self.waiting, key=self._turn)
            if not self._admit(sequence):
                break
            if not self._choose(sequence, chosen):
                break
        for part in chosen:
            self._served.count(part.sequence.user, part.rows)
        return chosen

    def commit(self, part: Slice, accepted: int = 0) -> None:
        """Count a slice as computed, and of its draft the `accepted` tokens that were drawn since."""
        sequence = part.sequence
        stop = sequence.computed = part.stop + accepted
        assert sequence.table is not None
        # Drawn tokens are found again only where they come out the same when they are read as part of a prompt.
        size = len(sequence.prompt)
        known = stop if self.aligned == 1 else min(stop, size // self.aligned * self.aligned)
        if known - sequence.table.sealed >= BLOCK:
            self.blocks.seal(sequence.table, sequence.tokens(0, known), known)
        if self.aligned == 1:
            self.blocks.note(sequence.table, sequence.tokens(sequence.table.sealed, known))
        self.blocks.release(sequence.table, stop)

    @property
    def room(self) -> float:
        """Positions that a sequence holds at most at once; without a window, infinite: as many as it has."""
        window = self.blocks.window
        return math.inf if window is None else window.size + window.sinks + self.max_rows + 2 * BLOCK

    def _live(self) -> Iterator[Sequence]:
        yield from self.running
        yield from self.waiting

    def _rank(self, sequence: Sequence) -> int:
        """The priority with what was gained by waiting; nobody comes before the best that was asked for."""
        return max(self._best, sequence.priority - (self._steps - sequence.since) // AGEING)

    def _turn(self, sequence: Sequence) -> tuple[int, int, int]:
        return self._rank(sequence), self._served[sequence.user], sequence.arrival

    def _claim(self) -> None:
        """Let waiting sequences take the places and blocks of running ones that rank behind them."""
        self._sort()
        while self.waiting and self.running:
            first = min(self.waiting, key=self._turn)
            last = self.running[-1]
            if self._rank(last) <= self._rank(first):
                return
            if len(self.running) == self.max_sequences or not self._admit(first):
                self._preempt(last)

    def _sort(self) -> None:
        self.running.sort(key=lambda one: (self._rank(one), one.arrival))

    def _budget(self, chosen: list[Slice]) -> int:
        return self.max_rows - sum(part.rows for part in chosen)

    def _choose(self, sequence: Sequence, chosen: list[Slice]) -> bool:
        """Add the next slice of a running sequence if rows and blocks allow it."""
        if sequence not in self.running:
            return False
        stop = sequence.next_stop(self._budget(chosen), self.aligned)
        if stop == sequence.computed or not self._make_room(sequence, stop, chosen):
            return False
        chosen.append(Slice(sequence, sequence.computed, stop, self._draft(sequence, stop, chosen)))
        return True

    def _draft(self, sequence: Sequence, stop: int, chosen: list[Slice]) -> tuple[int, ...]:
        """Tokens to try behind `stop`, where rows and blocks are left over."""
        if self.aligned > 1 or stop < sequence.length or not sequence.drawn:
            return ()
        assert sequence.table is not None
        left = sequence.limit - len(sequence.drawn) - 1
        draft = sequence.propose(min(left, self._budget(chosen) - (stop - sequence.computed)))
        return tuple(draft) if draft and self.blocks.extend(sequence.table, stop + len(draft)) else ()

    def _admit(self, sequence: Sequence) -> bool:
        """Move a waiting sequence to the running ones if there are blocks for all that it will hold of its tokens."""
        known = sequence.tokens(0, sequence.findable(self.aligned))
        table = self.blocks.open(sequence.adapter, known, aligned=self.aligned)
        computed = table.known
        held = table.blocks.count(GONE) * BLOCK + self.room
        if not self.blocks.extend(table, int(min(sequence.length, held))):
            self.blocks.close(table)
            return False
        sequence.table, sequence.computed = table, computed
        self.waiting.remove(sequence)
        self.running.append(sequence)
        self._sort()
        return True

    def _make_room(self, sequence: Sequence, stop: int, chosen: list[Slice]) -> bool:
        """Blocks up to `stop`, at the cost of younger sequences, chosen ones too. False where it is the youngest."""
        assert sequence.table is not None
        while not self.blocks.extend(sequence.table, stop):
            youngest = self.running[-1]
            self._preempt(youngest)
            if youngest is sequence:
                return False
            chosen[:] = [part for part in chosen if part.sequence is not youngest]
        return True

    def _preempt(self, sequence: Sequence) -> None:
        assert sequence.table is not None
        self.blocks.close(sequence.table)
        sequence.table, sequence.computed = None, 0
        if sequence.draft is not None:
            sequence.draft.release()
        self.running.remove(sequence)
        self.waiting.append(sequence)
