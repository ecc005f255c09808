"""Chats as tokens with the answers marked, and batches of them.

Answers are the assistant's turns as the chat template writes them, up to and with the token that ends the turn: what
the model must say itself. Everything else is read, never learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genwerk.core.errors import DataError, ModelError
from genwerk.core.types import Message
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["AnswerBatch", "EncodedChat", "collate", "encode_example"]


@dataclass(frozen=True, slots=True)
class EncodedChat:
    """tokens of a chat; `answers[i]` says whether token i is to be learned, i.e. predicted from those before it."""

    tokens: tuple[int, ...]
    answers: tuple[bool, ...]
    document_id: str = ""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_answers(self) -> int:
        """How many tokens are learned."""
        return sum(self.answers)


@dataclass(frozen=True, slots=True)
class AnswerBatch:
    """Chats padded on the right, which a causal network never sees.

    inputs   (B, T) tokens
    rows     (N,) places in the flattened (B * T) at which an answer token is predicted
    targets  (N,) those answer tokens
    """

    inputs: Tensor
    rows: Tensor
    targets: Tensor

    @property
    def n_answers(self) -> int:
        return len(self.targets)

    @property
    def n_tokens(self) -> int:
        """Tokens computed, padding included."""
        return self.inputs.numel()


def encode_example(tokenizer: Tokenizer, messages: Sequence[Message], document_id: str = "") -> EncodedChat:
    """Tokens of a chat with every assistant turn marked.

    Raises DataError when no assistant turn is there, ModelError when the template does not write a chat turn by turn.
    """
    tokens: list[int] = []
    answers: list[bool] = []
    for at, message in enumerate(messages):
        if message.role == "assistant":
            prompt = tokenizer.encode_chat(messages[:at])
            known = _extends(tokenizer, tokens, prompt)
            answer = tokenizer.encode_chat(messages[: at + 1], add_generation_prompt=False)
            said = answer[_extends(tokenizer, prompt, answer) :]
            ends = [place for place, token in enumerate(said) if token in tokenizer.eos_ids]
            if not ends and tokenizer.eos_ids and message is messages[-1]:  # a template without an end of turn
                said, ends = [*said, min(tokenizer.eos_ids)], [len(said)]
            learned = ends[-1] + 1 if ends else len(said)
            tokens += prompt[known:] + said
            answers += [False] * (len(prompt) - known) + [place < learned for place in range(len(said))]
    if True not in answers:
        raise DataError("a chat without an answer cannot be learned from", remedy="End it with an assistant message.")
    last = len(answers) - answers[::-1].index(True)  # what follows the last answer is never read
    return EncodedChat(tuple(tokens[:last]), tuple(answers[:last]), document_id)


def _extends(tokenizer: Tokenizer, before: Sequence[int], after: Sequence[int]) -> int:
    """How many tokens of `after` are `before` again. Raises ModelError when `after` does not begin with it."""
    if list(after[: len(before)]) != list(before):
        raise ModelError(
            "the chat template does not write a chat turn by turn: with one more turn the tokens before it change",
            remedy="Use a template whose prompt stays the same when the answer follows it.",
        )
    return len(before)


def collate(examples: Sequence[EncodedChat], device: torch.device | str = "cpu") -> AnswerBatch:
    """One padded batch; the last token of each chat is only predicted, never read."""
    width = max(map(len, examples)) - 1
    inputs = torch.zeros((len(examples), width), dtype=torch.int64)
    rows: list[int] = []
    targets: list[int] = []
    for index, example in enumerate(examples):
        inputs[index, : len(example) - 1] = torch.tensor(example.tokens[:-1])
        places = [place for place in range(1, len(example)) if example.answers[place]]
        rows += [index * width + place - 1 for place in places]
        targets += [example.tokens[place] for place in places]
    return AnswerBatch(inputs.to(device), torch.tensor(rows).to(device), torch.tensor(targets).to(device))
