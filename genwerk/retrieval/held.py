"""What an open index holds of its truth, and how it follows: by reading what came and went since, and nothing else.

    derived-N (mapped) │ part │ part │ part     in memory, each larger than all that came after it

A part that is no larger than what came after it is read again together with it: of n chunks that came one by one each
is read at most log2(n) times, and there are no more parts than that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genwerk.retrieval.derived import Derived, is_stale, make_derived
from genwerk.retrieval.truth import Last, State
from genwerk.retrieval.view import NO_ROWS, Documents, View, rows_of

__all__ = ["Held"]


class Held:
    """One at a time may call `follow`; whoever searches meanwhile has the view of before.

    documents  of all rows; seen: the highest numbers that were taken in; covered: those of the chunks in `base`.
    exactly    vectors (m, dimension) of chunks by number (m,), from the truth.
    """

    def __init__(self, dimension: int, exactly: Callable[[np.ndarray], np.ndarray]) -> None:
        self.dimension, self.exactly = dimension, exactly
        self.documents, self.seen, self.covered = Documents(), Last(), 0
        self.view = View(NO_ROWS, (), self.documents, exactly)

    def start_from(self, base: Derived, state: State) -> None:
        """Begin with what is derived and not empty. Raises ValueError where it does not belong to the truth."""
        self.documents.read(state, 0)
        self.covered, spans = int(base.numbers[-1]), state.spans(0)
        known = spans[: np.searchsorted(spans[:, 0], self.covered, side="right")]
        self.view = View(rows_of(self.documents, base.numbers, known), [base], self.documents, self.exactly)
        self.seen = Last(self.covered, max(self.documents.numbers, default=0))

    def follow(self, state: State) -> bool:
        """Take in what came and went; whether there was anything."""
        last = state.last()
        if last == self.seen and self.view.parts:
            return False
        parts, came = list(self.view.parts), last.chunk - self.seen.chunk
        while len(parts) > (self.covered > 0) and len(parts[-1]) <= came:
            came += len(parts.pop())
        rows = self.view.rows.before(sum(map(len, parts)))
        self.documents.read(state, self.seen.document)
        spans = state.spans(int(rows.numbers[-1]) if len(rows.numbers) else 0)
        added = make_derived(state, spans, self.dimension)
        rows = rows.followed_by(rows_of(self.documents, added.numbers, spans))
        gone = self.documents.drop(state, self.seen.removed)
        rows.documents[np.isin(rows.documents, gone)] = -1
        self.view = View(rows, [*parts, added], self.documents, self.exactly)
        self.seen = last
        return True

    @property
    def is_late(self) -> bool:
        """Whether so much came after what is derived that it should be derived anew."""
        return is_stale(self.covered, self.seen.chunk)
