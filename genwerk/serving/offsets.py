"""Where the tokens of an answer begin in its text.

A token is as long as the characters that its bytes complete, since one character may be spread over several tokens. An
output guard may change a piece of the text, whose tokens are then not told: behind it they are found in the text again.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from genwerk.inference.generation import TokenLogprob
from genwerk.serving.assistant import Piece
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["Offsets", "Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """A token, and the character it begins at."""

    start: int
    token: int
    logprob: TokenLogprob | None


class Offsets:
    """Follows a text from its character `start` on."""

    def __init__(self, tokenizer: Tokenizer, start: int = 0) -> None:
        self._tokenizer, self._decoder = tokenizer, codecs.getincrementaldecoder("utf-8")("replace")
        self._said, self._next, self._lost = start, start, False

    def place(self, token: int, logprob: TokenLogprob | None) -> Place:
        """The next token."""
        start = self._next
        self._next += len(self._decoder.decode(self._tokenizer.token_bytes(token)))
        return Place(start, token, logprob)

    def of_piece(self, piece: Piece) -> list[Place]:
        """The tokens of the text that comes next."""
        if piece.logprobs and self._lost:
            self._next, self._lost = self._said - self._ahead(piece), False
            self._decoder.reset()
        places = [self.place(one.token, one) for one in piece.logprobs]
        self._lost = self._lost or (bool(piece.text) and not places)
        self._said += len(piece.text)
        return places

    def _ahead(self, piece: Piece) -> int:
        """How many characters of its first token stand before the piece: most often the space between sentences."""
        spelled = [self._tokenizer.token_bytes(one.token) for one in piece.logprobs]
        told = b"".join(spelled).decode("utf-8", "replace")
        for ahead in range(len(spelled[0])):
            rest = told[ahead:]
            if rest.startswith(piece.text) or piece.text.startswith(rest):
                return ahead
        return 0
