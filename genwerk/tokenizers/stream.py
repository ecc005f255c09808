"""Tokens to text while they come: only whole characters leave.

A character can span several tokens. Byte-level tokenizers are decoded byte by byte. Others drop or add spaces by what
stands before, so a short window of tokens is decoded each time, with the tokens before it as context.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Protocol

__all__ = ["Decoding", "StreamDecoder"]

_BROKEN = "\ufffd"
_LONGEST = 8  # a UTF-8 character has at most four bytes; more broken tokens than this will not become one


class Decoding(Protocol):
    """What a tokenizer must offer to be decoded as a stream."""

    @property
    def is_byte_level(self) -> bool: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    def token_bytes(self, token: int) -> bytes: ...
    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str: ...


class StreamDecoder:
    """Decode one token after the other; the pieces joined are `tokenizer.decode` of all tokens."""

    def __init__(self, tokenizer: Decoding, *, skip_special: bool = True) -> None:
        self._tokenizer, self._skip_special = tokenizer, skip_special
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace") if tokenizer.is_byte_level else None
        self._tokens: list[int] = []
        self._context, self._given = 0, 0  # the window is tokens[context:]; the text of tokens[context:given] is out

    def push(self, token: int) -> str:
        """The text that is certain now; empty while a character is incomplete."""
        if self._bytes is not None:
            if self._skip_special and token in self._tokenizer.special_ids:
                return ""
            return self._bytes.decode(self._tokenizer.token_bytes(token))
        self._tokens.append(token)
        before, now = self._window()
        waiting = len(self._tokens) - self._given
        if len(now) <= len(before) or (now.endswith(_BROKEN) and waiting < _LONGEST):
            return ""
        self._context, self._given = self._given, len(self._tokens)
        return now[len(before) :]

    def flush(self) -> str:
        """What is left at the end; an incomplete character comes out as U+FFFD."""
        if self._bytes is not None:
            return self._bytes.decode(b"", final=True)
        before, now = self._window()
        self._context = self._given = len(self._tokens)
        return now[len(before) :]

    def _window(self) -> tuple[str, str]:
        before = self._decode(self._tokens[self._context : self._given])
        return before, self._decode(self._tokens[self._context :])

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special=self._skip_special)
