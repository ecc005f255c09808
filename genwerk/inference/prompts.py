"""What a model is given, as tokens: a chat through its template, or raw text, or token ids as they are.

Message("prompt", "Once upon a time")    the only message: text that is continued without a template
Message("tokens", "9906 1917 11")        the same as token ids
"""

from __future__ import annotations

from collections.abc import Sequence

from genwerk.core.types import Message
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["RAW", "encode_messages", "is_raw", "raw_text", "tokens_message"]

RAW = ("prompt", "tokens")


def is_raw(messages: Sequence[Message]) -> bool:
    """Whether this is text to be continued and no chat."""
    return len(messages) == 1 and messages[0].role in RAW


def tokens_message(tokens: Sequence[int]) -> Message:
    """Token ids as a message."""
    return Message("tokens", " ".join(map(str, tokens)))


def raw_text(tokenizer: Tokenizer, message: Message) -> str:
    """What a raw message says."""
    return tokenizer.decode(_ids(message)) if message.role == "tokens" else message.content


def encode_messages(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The prompt that `messages` become. Raw text that is empty becomes the token a text begins with."""
    if not is_raw(messages):
        return tokenizer.encode_chat(messages)
    message, start = messages[0], tokenizer.bos_id
    ids = _ids(message) if message.role == "tokens" else tokenizer.encode(message.content)
    return ids or ([] if start is None else [start])


def _ids(message: Message) -> list[int]:
    return [int(one) for one in message.content.split()]
