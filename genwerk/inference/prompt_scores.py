"""Prompt log-probabilities: how likely the model found each token of the prompt after those before it.

Source: `prompt_logprobs` of vLLM, and OpenAI's `echo` with `logprobs`.

    score_t = ln p(x_t | x_0 .. x_{t-1}),   t >= 1;   the first token has none

Chosen:   the prompt is read in pieces as always, with logits for each position. What other prompts left in the cache
          has no logits and is computed again, so the numbers are those of a prompt read alone. They are of the model's
          own distribution, as the log-probabilities of an answer are.
Try it:   pytest tests/inference/test_prompt_scores.py
"""

from __future__ import annotations

from collections.abc import Sequence

from genwerk.inference.logits import Logits
from genwerk.inference.sampler import TokenLogprob, token_logprob

__all__ = ["PromptScores"]


class PromptScores:
    """Collects the log-probabilities of `prompt` and of the `top` likeliest tokens at each of its positions."""

    def __init__(self, prompt: Sequence[int], top: int) -> None:
        self._prompt, self._top = prompt, top
        self.seen = 0  # positions whose logits were there
        self.found: list[TokenLogprob | None] = [None]

    def wanted(self, start: int, stop: int) -> int:
        """Of how many of the positions start..stop, counted from the last, logits are needed."""
        return max(1, stop - max(start, self.seen)) if self.seen < len(self._prompt) else 1

    def add(self, start: int, logits: Logits) -> None:
        """The logits (R, V) of the positions from `start` on; what is known or belongs to the answer is passed over."""
        logits = logits[self.seen - start :]
        following = self._prompt[self.seen + 1 : self.seen + 1 + len(logits)]
        self.found += [token_logprob(row, token, self._top) for row, token in zip(logits, following, strict=False)]
        self.seen = min(self.seen + len(logits), len(self._prompt))
