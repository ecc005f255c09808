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

import torch
from torch import Tensor

from genwerk.inference.sampler import Alternative, TokenLogprob

__all__ = ["PromptScores"]

_ROWS = 32  # rows of logits that are normalised at once


class PromptScores:
    """Collects the log-probabilities of `prompt` and of the `top` likeliest tokens at each of its positions."""

    def __init__(self, prompt: Sequence[int], top: int) -> None:
        self._prompt, self._top = prompt, top
        self.seen = 0  # positions whose logits were there
        self.found: list[TokenLogprob | None] = [None]

    def wanted(self, start: int, stop: int) -> int:
        """Of how many of the positions start..stop, counted from the last, logits are needed."""
        return max(1, stop - max(start, self.seen)) if self.seen < len(self._prompt) else 1

    def add(self, start: int, logits: Tensor) -> None:
        """The logits (R, V) of the positions from `start` on; what is known or belongs to the answer is passed over."""
        logits = logits[self.seen - start :]
        following = self._prompt[self.seen + 1 : self.seen + 1 + len(logits)]
        for first in range(0, len(following), _ROWS):
            tokens = torch.tensor(following[first : first + _ROWS], device=logits.device)
            logprobs = logits[first : first + len(tokens)].float().log_softmax(1)
            own = logprobs.gather(1, tokens[:, None])[:, 0].tolist()
            values, ids = (part.tolist() for part in logprobs.topk(self._top, dim=1))
            for token, logprob, above, which in zip(tokens.tolist(), own, values, ids, strict=True):
                self.found.append(TokenLogprob(token, logprob, tuple(map(Alternative, which, above))))
        self.seen = min(self.seen + len(logits), len(self._prompt))
