"""Text is held back until a sentence is whole, so that an output guard sees all of a telephone number or none.

Text without sentence ends (code, lists, ramblings) goes out by lines, or in the end by words, but never closer than
`_TAIL` characters to its end, where personal data may still be incomplete, and never cut inside personal data.
"""

from __future__ import annotations

from dataclasses import dataclass

from genwerk.data.redact import find_pii
from genwerk.data.sentences import split_sentences
from genwerk.inference.engine import TokenLogprob

_LONG = 480  # characters without a sentence end after which a line or a word will do
_TAIL = 160  # longer than any address, number or IBAN


@dataclass(frozen=True, slots=True)
class Ready:
    """Whole sentences, and the log-probabilities of the tokens that ended in them."""

    text: str
    logprobs: tuple[TokenLogprob, ...]


class Holdback:
    """Collects deltas; `push` gives back what is whole. All that comes out, joined, is what went in."""

    def __init__(self) -> None:
        self._text = ""
        self._logprobs: list[tuple[int, TokenLogprob]] = []
        self._left = 0  # characters that have gone out

    def push(self, text: str, logprob: TokenLogprob | None = None, *, last: bool = False) -> Ready | None:
        """Add `text`; what may now be checked and sent, or None. `last` lets everything out."""
        self._text += text
        if logprob is not None:
            self._logprobs.append((self._left + len(self._text), logprob))
        cut = len(self._text) if last else self._whole(text)
        if not cut and not (last and self._logprobs):
            return None
        out, self._text = self._text[:cut], self._text[cut:]
        self._left += cut
        ended = [found for end, found in self._logprobs if end <= self._left]
        del self._logprobs[: len(ended)]
        return Ready(out, tuple(ended))

    def _whole(self, added: str) -> int:
        if not added.strip():
            return 0
        spans = split_sentences(self._text)
        if len(spans) > 1:
            return spans[-1][0]
        if len(self._text) <= _LONG:
            return 0
        head = self._text[: len(self._text) - _TAIL]
        cut = max(head.rfind("\n"), head.rfind(" ")) + 1
        return next((pii.start for pii in find_pii(self._text) if pii.start < cut < pii.end), cut)
