"""Streaming: the pieces joined are the whole, and no half character ever leaves."""

from __future__ import annotations

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers

from genwerk.tokenizers.byte_alphabet import LETTER_OF_BYTE
from genwerk.tokenizers.stream import StreamDecoder
from genwerk.tokenizers.tokenizer import Tokenizer


def byte_level() -> Tokenizer:
    """All bytes, a few merges that end inside a character, and one control token."""
    letters = [LETTER_OF_BYTE[byte] for byte in range(256)]
    half = LETTER_OF_BYTE[0xF0] + LETTER_OF_BYTE[0x9F]
    vocabulary = {piece: number for number, piece in enumerate([*letters, half, "th"])}
    runner = tokenizers.Tokenizer(models.BPE(vocabulary, [(half[0], half[1]), ("t", "h")]))
    runner.pre_tokenizer, runner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    runner.add_special_tokens(["<|end|>"])
    return Tokenizer(runner, settings={}, eos_ids=[258], bos_id=None, chat_template=None)


def sentence_piece() -> Tokenizer:
    """Pieces that carry their space in front, with bytes for what is not in the vocabulary."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁the", "▁cat", "s", "t", "h", "e"]
    runner = tokenizers.Tokenizer(
        models.BPE({piece: n for n, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    runner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    runner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return Tokenizer(runner, settings={}, eos_ids=[], bos_id=None, chat_template=None)


BYTES, PIECES = byte_level(), sentence_piece()


def stream(tokenizer: Tokenizer, tokens: list[int]) -> list[str]:
    decoder = StreamDecoder(tokenizer)
    return [*map(decoder.push, tokens), decoder.flush()]


@given(tokens=st.lists(st.integers(0, 258)))
def test_any_tokens_joined_are_what_decode_says(tokens: list[int]) -> None:
    assert "".join(stream(BYTES, tokens)) == BYTES.decode(tokens)


@pytest.mark.parametrize("tokenizer", [BYTES, PIECES], ids=["bytes", "pieces"])
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\ufffd▁"), max_size=30))
def test_text_comes_whole_and_never_broken(tokenizer: Tokenizer, text: str) -> None:
    pieces = stream(tokenizer, tokenizer.encode(text))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_an_emoji_waits_for_its_last_byte() -> None:
    assert stream(BYTES, BYTES.encode("a🙂b")) == ["a", "", "", "🙂", "b", ""]


def test_spaces_between_pieces_are_kept() -> None:
    the, cat = PIECES.token_to_id("▁the"), PIECES.token_to_id("▁cat")
    assert the is not None and cat is not None
    assert stream(PIECES, [the, cat, cat]) == ["the", " cat", " cat", ""]


def test_an_unfinished_character_is_said_at_the_end() -> None:
    assert stream(BYTES, BYTES.encode("é")[:1]) == ["", "\ufffd"]
    assert stream(PIECES, [1 + 0xC3]) == ["", "\ufffd"]
