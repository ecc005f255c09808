"""One prompt and the answer that grows behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

import numpy as np

from genwerk.core.types import Sampling
from genwerk.inference.blocks import Table
from genwerk.inference.prompt_scores import PromptScores
from genwerk.inference.reasoning import Section
from genwerk.inference.rules import Form, Rule
from genwerk.inference.sampler import Draw
from genwerk.inference.speculation import Draft

__all__ = ["Sequence"]


@dataclass(eq=False, slots=True)
class Sequence:
    """What the scheduler moves between waiting and running.

    limit      most tokens to draw.
    priority   lower is served earlier, see `Scheduler`.
    since      the step before which it came.
    drawn      tokens drawn so far; the last one is not yet in the cache.
    computed   positions whose keys and values are in the blocks of `table`.
    draws      drawn and not yet taken by the reader.
    draft      proposes tokens that are run together with the last one; None: none are.
    matcher    holds the answer to its form; None: any text.
    rules      all that narrows the next token, the matcher among them.
    section    in which a reasoning model thinks before it answers.
    scores     collects the log-probabilities of the prompt; None: they are not asked for.
    """

    prompt: Tokens[int]
    sampling: Sampling
    adapter: str | None
    user: str
    limit: int
    generator: np.random.Generator
    priority: int = 0
    arrival: int = 0
    since: int = 0
    drawn: list[int] = field(default_factory=list)
    table: Table | None = None
    computed: int = 0
    draws: deque[Draw] = field(default_factory=deque)
    finished: bool = False
    error: Exception | None = None
    draft: Draft | None = None
    matcher: Form | None = None
    rules: tuple[Rule, ...] = ()
    scores: PromptScores | None = None
    section: Section | None = None

    @property
    def length(self) -> int:
        """Positions of prompt and drawn tokens together."""
        return len(self.prompt) + len(self.drawn)

    def tokens(self, start: int, stop: int) -> list[int]:
        """Prompt and drawn tokens at these positions."""
        size = len(self.prompt)
        return [*self.prompt[start:stop], *self.drawn[max(0, start - size) : max(0, stop - size)]]

    def wanted(self, start: int, stop: int) -> int:
        """Of how many of the positions start..stop, counted from the last, logits are needed."""
        return 1 if self.scores is None else self.scores.wanted(start, stop)

    def findable(self, aligned: int) -> int:
        """How many positions may be taken from blocks that are there already, see `aligned` of `Runner`."""
        # What was drawn is found again only where it comes out the same as part of a prompt.
        known = self.length if aligned == 1 else len(self.prompt)
        return known if self.scores is None else min(known, self.scores.seen + 1)

    def propose(self, most: int) -> list[int]:
        """Up to `most` tokens that may come after the last drawn one."""
        if self.draft is not None:
            return self.draft.propose(most)
        return [] if self.matcher is None else self.matcher.forced(most)

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
