"""Logits in int8 are, bit for bit, those of PyTorch doing the same arithmetic in the same order."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from exact_bytes import over_bytes
from exact_reference import ExactReference, exponential, fma
from quantised_reference import in_tiles
from small_models import SHAPES, all_rows, blocks_for, native, random_tokens, small_model, step

from genwerk.inference.runner import Chunk

LENGTH = 75  # two whole blocks of the cache and a part of one


@pytest.fixture
def fused(variant: str) -> str:
    """An instruction set with fused products and sums, which the reference has."""
    if variant == "portable":
        pytest.skip("portable rounds products before it adds them")
    return variant


@pytest.mark.parametrize("shape", SHAPES)
def test_every_logit_of_a_prompt_is_the_references(shape: str, fused: str) -> None:
    runner = native(shape, fused, precision="int8")
    tokens = random_tokens(LENGTH, runner.config.vocab_size)
    (rows,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(LENGTH))])
    assert torch.equal(rows, ExactReference(small_model(shape), in_tiles(runner)).logits(tokens))


@pytest.mark.parametrize("shape", ["head-64", "head-32", "some-windows"])
def test_every_logit_of_a_prompt_longer_than_a_strip_is_the_references(shape: str, fused: str) -> None:
    runner = native(shape, fused, precision="int8")
    tokens = random_tokens(290, runner.config.vocab_size)
    (rows,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(290))])
    assert torch.equal(rows, ExactReference(small_model(shape), in_tiles(runner)).logits(tokens))


@pytest.mark.parametrize("shape", ["everything", "some-windows", "head-64"])
def test_every_logit_token_by_token_is_the_references(shape: str, fused: str) -> None:
    runner = native(shape, fused, precision="int8")
    tokens, table = random_tokens(LENGTH, runner.config.vocab_size, seed=1), blocks_for(LENGTH)
    rows = torch.cat([step(runner, [Chunk([token], at, table)]) for at, token in enumerate(tokens)])
    assert torch.equal(rows, ExactReference(small_model(shape), in_tiles(runner)).logits(tokens))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_logit_over_a_cache_in_bytes_is_the_references(shape: str, fused: str) -> None:
    runner = native(shape, fused, precision="int8", cache_precision="int8")
    tokens = random_tokens(290, runner.config.vocab_size)
    (rows,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(290))])
    assert torch.equal(rows, over_bytes(small_model(shape)).logits(tokens))


@pytest.mark.parametrize("shape", ["everything", "some-windows", "head-64"])
def test_every_logit_token_by_token_over_a_cache_in_bytes_is_the_references(shape: str, fused: str) -> None:
    runner = native(shape, fused, precision="int8", cache_precision="int8")
    tokens, table = random_tokens(290, runner.config.vocab_size, seed=1), blocks_for(290)
    rows = torch.cat([step(runner, [Chunk([token], at, table)]) for at, token in enumerate(tokens)])
    assert torch.equal(rows, over_bytes(small_model(shape)).logits(tokens))


def test_the_first_token_of_a_text_is_the_references_whichever_it_is(fused: str) -> None:
    runner, reference = native("llama", fused, precision="int8"), ExactReference(small_model("llama"))
    for token in range(runner.config.vocab_size):
        assert torch.equal(step(runner, [Chunk([token], 0, [0])]), reference.logits([token]))


def test_a_product_and_a_sum_are_rounded_once() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(500, generator=generator) * 2.0 ** torch.randint(-30, 30, (500,)) for _ in range(3))
    ulp = 2.0**-23
    hard = torch.tensor([[1 + ulp, 1 + ulp, 2.0**-60], [1 + ulp / 2 * 2, 1.0, -(2.0**-80)], [2.0**-24, 1.0, 1 + ulp]])
    a, b, c = (torch.cat((part, edge)) for part, edge in zip((a, b, c), hard.unbind(1), strict=True))
    tiny = torch.tensor([2.0**-70, -(2.0**-70)])  # 1 + ulp / 2 is a middle: what is far behind it decides
    a, b, c = (torch.cat(parts) for parts in ((a, tiny), (b, torch.ones(2)), (c, torch.ones(2))))
    for x, y, z, got in zip(a.tolist(), b.tolist(), c.tolist(), fma(a, b, c), strict=True):
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        error = abs(Fraction(got.item()) - exact)
        for beside in (torch.inf, -torch.inf):
            assert error <= abs(Fraction(torch.nextafter(got, torch.tensor(beside)).item()) - exact)


def test_the_power_of_e_is_near_the_true_one_and_0_far_below() -> None:
    x = torch.linspace(-86.9, 80, 10001)
    torch.testing.assert_close(exponential(x).double(), x.double().exp(), rtol=3e-7, atol=0)
    assert not exponential(torch.tensor([-87.5, -1e30, -torch.inf])).any()
