"""Cutting rules of GGUF tokenizers: parity with the rule as its model's own tokenizer.json has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from genwerk.core.errors import ModelError
from genwerk.tokenizers.byte_alphabet import LETTER_OF_BYTE
from genwerk.tokenizers.gguf_tokenizer import write_gguf_tokenizer
from genwerk.tokenizers.tokenizer import Tokenizer

LETTERS = [LETTER_OF_BYTE[byte] for byte in range(256)]
SPACE = LETTER_OF_BYTE[0x20]
TOKENS = [*LETTERS, "12", "123", f"{SPACE}a", "ab", "<|begin|>", "<|end|>"]
METADATA = {
    "general.architecture": "llama",
    "llama.context_length": 512,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [1] * 260 + [3, 3],
    "tokenizer.ggml.merges": ["1 2", "12 3", f"{SPACE} a", "a b"],
    "tokenizer.ggml.bos_token_id": 260,
    "tokenizer.ggml.eos_token_id": 261,
}


def load(path: Path, pre: str) -> Tokenizer:
    write_gguf_tokenizer(METADATA | {"tokenizer.ggml.pre": pre}, path)
    return Tokenizer.load(path)


@pytest.mark.parametrize(
    ("pre", "digits"),
    [
        ("gpt-2", ["123", "4"]),  # all digits in one piece
        ("smollm", ["1", "2", "3", "4"]),  # each digit alone
        ("llama-bpe", ["123", "4"]),  # three at a time
        ("qwen2", ["1", "2", "3", "4"]),
    ],
)
def test_digits_are_cut_as_the_rule_says(pre: str, digits: list[str], tmp_path: Path) -> None:
    tokenizer = load(tmp_path, pre)
    assert [tokenizer.decode([token]) for token in tokenizer.encode("1234")] == digits
    for text in ("Grüße, 12 a!\n\n\tx", "it's  I'LL", "🙂 <|end|>"):
        assert tokenizer.decode(tokenizer.encode(text), skip_special=False) == text


def test_bos_is_put_in_front_where_the_model_wants_it(tmp_path: Path) -> None:
    assert load(tmp_path, "llama-bpe").encode("ab", special=True) == [260, 259]
    assert load(tmp_path, "smollm").encode("ab", special=True) == [259]


def test_combined_and_split_letters_are_one_for_qwen2(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "qwen2")
    assert tokenizer.encode("u\u0308") == tokenizer.encode("ü")


def test_special_numbers_are_handed_back(tmp_path: Path) -> None:
    special = write_gguf_tokenizer(METADATA | {"tokenizer.ggml.pre": "smollm"}, tmp_path)
    assert special == {"bos_token_id": 260, "eos_token_id": 261, "pad_token_id": None}
    assert Tokenizer.load(tmp_path).eos_ids == {261}


@pytest.mark.parametrize("change", [{"tokenizer.ggml.model": "llama"}, {"tokenizer.ggml.pre": "unheard-of"}])
def test_unknown_rules_are_refused(change: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not supported"):
        write_gguf_tokenizer(METADATA | {"tokenizer.ggml.pre": "smollm"} | change, tmp_path)
