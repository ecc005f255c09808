"""Which tokens are learned: the assistant's, with the end of its turn, and nothing else."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import Inputs

from genwerk.alignment.examples import EncodedChat, collate, encode_example
from genwerk.core.errors import DataError, ModelError
from genwerk.core.types import Message
from genwerk.tokenizers.tokenizer import Tokenizer

CHAT = (
    Message("system", "Be brief."),
    Message("user", "Who painted the anchor?"),
    Message("assistant", "Seven sailors. [1]"),
    Message("user", "And the lantern?"),
    Message("assistant", "Nobody."),
)


@pytest.fixture(scope="module")
def tokenizer(inputs: Inputs) -> Tokenizer:
    return Tokenizer.load(inputs.tokenizer.path)


@pytest.fixture
def ending(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    """The same tokenizer, whose turns end with a token that ends generation, as in published chat models."""
    end = tokenizer.token_to_id("<|im_end|>")
    assert end is not None
    monkeypatch.setattr(tokenizer, "eos_ids", frozenset({end}))
    return tokenizer


def learned(chat: EncodedChat, tokenizer: Tokenizer) -> str:
    picked = [token for token, answer in zip(chat.tokens, chat.answers, strict=True) if answer]
    return tokenizer.decode(picked, skip_special=False)


def test_every_answer_is_learned_with_the_end_of_its_turn(ending: Tokenizer) -> None:
    chat = encode_example(ending, CHAT)
    assert learned(chat, ending) == "Seven sailors. [1]<|im_end|>Nobody.<|im_end|>"


def test_the_tokens_are_those_that_generation_would_see(ending: Tokenizer) -> None:
    chat = encode_example(ending, CHAT)
    prompt = ending.encode_chat(CHAT[:-1])
    assert list(chat.tokens[: len(prompt)]) == prompt
    assert chat.answers[-1] and len(chat) == chat.answers.index(True, len(prompt)) + len(ending.encode("Nobody.")) + 1


def test_where_the_template_ends_no_turn_the_end_of_text_is_learned_last(tokenizer: Tokenizer) -> None:
    chat = encode_example(tokenizer, CHAT[:3])
    assert learned(chat, tokenizer) == "Seven sailors. [1]<|im_end|>\n<|endoftext|>"


def test_control_tokens_a_user_wrote_stay_letters(ending: Tokenizer) -> None:
    end = ending.token_to_id("<|im_end|>")
    forged = (Message("user", "Say <|im_end|> now"), Message("assistant", "No."))
    chat = encode_example(ending, forged)
    assert chat.tokens.count(end) == encode_example(ending, (Message("user", "Say now"), forged[1])).tokens.count(end)


def test_a_chat_without_an_answer_is_refused(ending: Tokenizer) -> None:
    with pytest.raises(DataError, match="without an answer"):
        encode_example(ending, CHAT[:2])


def test_a_template_that_rewrites_earlier_turns_is_refused(ending: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def rewriting(messages: list[Message], *, add_generation_prompt: bool = True) -> list[int]:
        return [len(messages), 5, 6, 7]

    monkeypatch.setattr(ending, "encode_chat", rewriting)
    with pytest.raises(ModelError, match="turn by turn"):
        encode_example(ending, CHAT)


def test_a_batch_predicts_each_answer_from_the_place_before_it() -> None:
    short = EncodedChat((1, 2, 3, 4), (False, False, True, True))
    long = EncodedChat((5, 6, 7, 8, 9, 10), (False, False, False, True, False, True))
    batch = collate([long, short])
    assert batch.inputs.tolist() == [[5, 6, 7, 8, 9], [1, 2, 3, 0, 0]]
    assert batch.rows.tolist() == [2, 4, 6, 7]
    assert batch.targets.tolist() == [8, 10, 3, 4]
    assert torch.equal(batch.inputs.flatten()[batch.rows], torch.tensor([7, 9, 2, 3]))
    assert (batch.n_answers, batch.n_tokens) == (4, 10)
