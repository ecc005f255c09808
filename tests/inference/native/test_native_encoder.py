"""The encoder in whole numbers: near float32 with all instruction sets, the same bits in any company, told errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genwerk.core.errors import ModelError
from genwerk.inference.native.encoder import NativeEncoder
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.models.encoder import Encoder, EncoderConfig, embed_tokens

CONFIG = EncoderConfig(97, 64, 3, 4, 160, 300, 300)
LENGTHS = (1, 2, 17, 17, 32, 33, 64, 150, 290, 5)


def small(config: EncoderConfig = CONFIG) -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder(config).requires_grad_(False)
    for name, weight in encoder.named_parameters():
        if "norm" in name:
            weight.copy_(torch.rand_like(weight) + 0.5 if name.endswith("weight") else 0.1 * torch.randn_like(weight))
        else:
            weight.normal_(std=0.1)
    return encoder.eval()


def sequences() -> list[list[int]]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, CONFIG.vocab_size, length).tolist() for length in LENGTHS]


def test_parity_with_float32(variant: str) -> None:
    found = NativeEncoder(small(), threads=2, variant=variant).embed(sequences())
    cosines = (found * embed_tokens(small(), sequences())).sum(-1)
    assert cosines.min() > 0.99999
    assert (found.norm(dim=-1) - 1).abs().max() < 1e-5


def test_the_largest_sums_do_not_overflow(variant: str) -> None:
    """Every factor of the first layer's products is the largest whole number, all of one sign."""
    encoder = small(EncoderConfig(97, 64, 1, 4, 192, 300, 300))
    block = encoder.layers[0]
    for norm in (encoder.embedding_norm, block.attention_norm):
        norm.weight.zero_()
        norm.bias.copy_(torch.eye(64)[0])
    for linear in (block.qkv, block.out, block.up, block.down):
        signs = torch.randn(linear.d_out).sign()
        linear.weight.zero_()
        linear.bias.zero_()
        linear.weight[:, ::64] = signs[:, None]
    block.up.weight.zero_()
    block.up.weight[::64, 0] = 2.0  # so that what meets `down` is at its inputs 0, 64 and 128
    found = NativeEncoder(encoder, threads=1, variant=variant).embed([[1, 2, 3]])
    assert (found * embed_tokens(encoder, [[1, 2, 3]])).sum(-1).min() > 0.9999


def test_a_text_has_the_same_bits_in_any_company_and_on_any_cores(variant: str) -> None:
    texts = sequences()
    one, two = (NativeEncoder(small(), threads=threads, variant=variant) for threads in (1, 2))
    together = one.embed(texts)
    assert torch.equal(two.embed(texts), together)
    assert torch.equal(torch.cat([two.embed([text]) for text in texts]), together)
    assert torch.equal(two.embed(texts[::-1]).flip(0), together)


def test_many_more_rows_than_go_together() -> None:
    texts = sequences() * 9
    found = NativeEncoder(small(), threads=2).embed(texts)
    assert torch.equal(found, found[: len(LENGTHS)].repeat(9, 1))


def test_what_it_cannot_read_is_said() -> None:
    encoder = NativeEncoder(small(), threads=1)
    with pytest.raises(ModelError, match="301 tokens is longer than the encoder's 300 positions"):
        encoder.embed([[1] * 301])
    with pytest.raises(ModelError, match="empty token sequence"):
        encoder.embed([[]])
    with pytest.raises(ModelError, match="not of the vocabulary"):
        encoder.embed([[1, 97]])
    with pytest.raises(NativeUnavailableError, match="not 64 and 8"):
        NativeEncoder(small(EncoderConfig(97, 64, 1, 8, 160, 300, 300)))
