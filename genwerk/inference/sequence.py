"""One prompt and the answer that grows behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

import torch

from genwerk.core.types import Sampling
from genwerk.inference.blocks import Table
from genwerk.inference.constraint import Matcher
from genwerk.inference.rules import Rule
from genwerk.inference.sampler import Draw
from genwerk.inference.speculation import Draft

__all__ = ["Sequence"]


@dataclass(eq=False, slots=True)
class Sequence:
    """What the scheduler moves between waiting and running.

    limit      most tokens to draw.
    drawn      tokens drawn so far; the last one is not yet in the cache.
    computed   positions whose keys and values are in the blocks of `table`.
    draws      drawn and not yet taken by the reader.
    draft      proposes tokens that are run together with the last one; None: none are.
    matcher    holds the answer to its form; None: any text.
    rules      all that narrows the next token, the matcher among them.
    """

    prompt: Tokens[int]
    sampling: Sampling
    adapter: str | None
    user: str
    limit: int
    generator: torch.Generator
    arrival: int = 0
    drawn: list[int] = field(default_factory=list)
    table: Table | None = None
    computed: int = 0
    draws: deque[Draw] = field(default_factory=deque)
    finished: bool = False
    error: Exception | None = None
    draft: Draft | None = None
    matcher: Matcher | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def length(self) -> int:
        """Positions of prompt and drawn tokens together."""
        return len(self.prompt) + len(self.drawn)

    def tokens(self, start: int, stop: int) -> list[int]:
        """Prompt and drawn tokens at these positions."""
        size = len(self.prompt)
        return [*self.prompt[start:stop], *self.drawn[max(0, start - size) : max(0, stop - size)]]

    def propose(self, most: int) -> list[int]:
        """Up to `most` tokens that may come after the last drawn one."""
        if self.matcher is not None:
            return self.matcher.forced(most)
        return [] if self.draft is None else self.draft.propose(most)

    def follow(self, draws: Tokens[Draw], proposed: int) -> None:
        """Append what was drawn, and learn from it where `proposed` tokens had been."""
        self.drawn += [draw.token for draw in draws]
        self.draws += draws
        if self.draft is not None:
            for draw in draws:
                self.draft.extend(draw.token)
            if proposed:
                self.draft.learn(proposed, len(draws) - 1)

    def next_stop(self, budget: int, aligned: int) -> int:
        """Where the next chunk of at most `budget` tokens may end; `computed` where none fits.

        aligned   see `Runner`: a prompt is cut only at its multiples, what was drawn is run token by token.
        """
        if aligned == 1:
            return min(self.length, self.computed + budget)
        size = len(self.prompt)
        stop = self.computed + 1 if self.computed >= size else min(size, self.computed + aligned)
        return stop if stop - self.computed <= budget else self.computed
