"""Speculation without a draft model: what the text said after the same words before is proposed to be said again.

Source: Saxena (2023), Prompt lookup decoding; verified as in Leviathan et al. (2023), Fast inference from transformers
via speculative decoding.

    find the latest earlier place where the last n tokens stand (n = 3, else 2); propose the k tokens after it
    run the proposed tokens in one step with the last one; draw at each place as always, and go on while the drawn
    token is the proposed one

Every token is drawn from the logits of its own true beginning with its own random number, so the answer is the same
with and without proposals; only the number of tokens per step differs.

Chosen:   k doubles when all were right and halves when most were wrong; after proposals of which none was right there
          is a pause, longer each time, so text that copies nothing costs little.
Left out: trees of several continuations. Draft models are draft_model.py.
Try it:   pytest tests/inference/test_prompt_lookup.py
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["PromptLookup"]

_SIZES = (3, 2)
_FIRST, _MOST = 4, 12
_PAUSE = 16  # tokens without a proposal after a failure, doubled with each failure that follows


class PromptLookup:
    """Follows one sequence of tokens. See `Draft` in speculation.py."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # the latest place that follows these tokens
        self._k, self._pause, self._waits = _FIRST, _PAUSE, 0
        for token in tokens:
            self.extend(token)

    def extend(self, token: int) -> None:
        """The next token of the sequence."""
        for size in _SIZES:
            if len(self._tokens) >= size:
                self._after[tuple(self._tokens[-size:])] = len(self._tokens)
        self._tokens.append(token)
        self._waits = max(0, self._waits - 1)

    def propose(self, most: int) -> list[int]:
        """Up to `most` tokens that followed the last ones before; none where they are new or proposals do not pay."""
        if self._waits or most <= 0:
            return []
        for size in _SIZES:
            place = self._after.get(tuple(self._tokens[-size:]))
            if place is not None and len(self._tokens) >= size:
                period = len(self._tokens) - place  # a text that ends in a repetition is thought to go on so
                return [self._tokens[place + i % period] for i in range(min(self._k, most))]
        return []

    def learn(self, proposed: int, accepted: int) -> None:
        """Count how many of the `proposed` tokens were drawn."""
        if accepted == proposed:
            self._k, self._pause = min(2 * self._k, _MOST), _PAUSE
        elif 2 * accepted >= proposed:
            self._pause = _PAUSE
        else:
            self._k = max(2, self._k // 2)
            if accepted == 0:
                self._waits, self._pause = self._pause, min(2 * self._pause, 256)

    def release(self) -> None:
        """Nothing is held."""
