"""Parity of the encoder with transformers' BERT, on random and on the real weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from genwerk.core.errors import ModelError
from genwerk.models.encoder import embed_tokens, load_encoder
from genwerk.tokenizers.tokenizer import Tokenizer

TEXTS = [
    "What does the global statement do?",
    "Die Umlaute ä, ö, ü und das ß.",
    "short",
    "def f(x):\n    return x ** 2  # 🙂",
    "a long one " * 40,
]


@pytest.fixture
def random_dir(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=80, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path)
    return tmp_path


def reference_vectors(path: Path, sequences: list[list[int]]) -> torch.Tensor:
    theirs = transformers.BertModel.from_pretrained(path).eval()
    rows = []
    for sequence in sequences:
        states = theirs(torch.tensor([sequence])).last_hidden_state[0]
        rows.append(torch.nn.functional.normalize(states.mean(0), dim=0))
    return torch.stack(rows)


@torch.inference_mode()
def test_states_equal_those_that_transformers_computes_with_padding(random_dir: Path) -> None:
    ours, theirs = load_encoder(random_dir), transformers.BertModel.from_pretrained(random_dir).eval()
    tokens = torch.randint(0, 80, (4, 30), generator=torch.Generator().manual_seed(0))
    for lengths in ([30, 30, 30, 30], [30, 18, 18, 1]):
        real = torch.arange(30) < torch.tensor(lengths)[:, None]
        types = (torch.arange(30) > 6).long().expand(4, 30)
        expected = theirs(tokens, attention_mask=real.long(), token_type_ids=types).last_hidden_state
        torch.testing.assert_close(ours(tokens[real], lengths, types[real]), expected[real], atol=1e-5, rtol=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_text_gives_the_same_bits_alone_and_among_others(random_dir: Path, threads: int) -> None:
    encoder, generator = load_encoder(random_dir), torch.Generator().manual_seed(2)
    assert encoder.steady
    torch.set_num_threads(threads)
    lengths = [*torch.randint(1, 65, (30,), generator=generator).tolist(), 1, 64]
    sequences = [torch.randint(0, 80, (length,), generator=generator).tolist() for length in lengths]
    together = embed_tokens(encoder, sequences)
    for sequence, vector in zip(sequences, together, strict=True):
        assert torch.equal(embed_tokens(encoder, [sequence])[0], vector)
    assert torch.equal(embed_tokens(encoder, sequences[::-1]), together.flip(0))


@torch.inference_mode()
def test_vectors_equal_mean_pooling_one_by_one(random_dir: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    sequences = [torch.randint(0, 80, (n,), generator=generator).tolist() for n in (3, 40, 17)]
    found = embed_tokens(load_encoder(random_dir), sequences)
    torch.testing.assert_close(found, reference_vectors(random_dir, sequences), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


@torch.inference_mode()
def test_real_vectors_equal_transformers(minilm_dir: Path) -> None:
    encoder, tokenizer = load_encoder(minilm_dir), Tokenizer.load(minilm_dir)
    sequences = tokenizer.encode_batch(TEXTS, special=True)
    theirs = transformers.AutoTokenizer.from_pretrained(minilm_dir)
    assert sequences == theirs(TEXTS)["input_ids"]
    assert encoder.config.max_tokens == 256
    expected = reference_vectors(minilm_dir, sequences)
    torch.testing.assert_close(embed_tokens(encoder, sequences), expected, atol=1e-5, rtol=0)


def test_too_long_empty_and_foreign_input_is_refused(random_dir: Path, small_dir: Path) -> None:
    encoder = load_encoder(random_dir)
    with pytest.raises(ModelError, match="65 tokens is longer than the encoder's 64"):
        embed_tokens(encoder, [[1] * 65])
    with pytest.raises(ModelError, match="empty"):
        embed_tokens(encoder, [[1], []])
    with pytest.raises(ModelError, match="'llama'"):
        load_encoder(small_dir)


def test_truncated_encoder_is_named(random_dir: Path) -> None:
    file = random_dir / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"model\.safetensors has \d+ of \d+ bytes"):
        load_encoder(random_dir)
