"""8-bit products are the arithmetic they claim to be: exact whole numbers, one scale per row and one per output."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from quantised_reference import Reference, in_tiles
from small_models import BASE, SHAPES, all_rows, blocks_for, draw, make_native, native, random_tokens, small_model, step
from torch import Tensor

from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.pack import turn
from genwerk.inference.runner import Chunk
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.linear import Linear
from genwerk.models.lora import adapter

NEAR = 2e-4  # an activation this close to a half may be rounded either way, as the last bit of the sums before it falls
FLIP = 0.3  # most that one activation rounded the other way changes a logit here


def silent(config: DecoderConfig) -> Decoder:
    """A model whose layers add nothing: logits are one product with the norm of one row of the embeddings."""
    model = draw(config)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Linear) and module.rows.keys() & {"o_proj", "down_proj"}:
                module.weight.zero_()
                if module.bias is not None:
                    module.bias.zero_()
    return model


def singles(runner: NativeDecoder, name: str | None = None) -> Iterator[tuple[int, Tensor]]:
    """Some tokens, each alone, as the first of a sequence: logits (V,)."""
    for token in range(0, 96, 4):
        yield token, step(runner, [Chunk([token], 0, [0], name)])[0]


@pytest.mark.parametrize("d_model", [16, 32, 48, 100])
def test_one_matrix_is_the_reference_product(d_model: int, variant: str) -> None:
    model = silent(DecoderConfig(**BASE | {"d_model": d_model, "n_layers": 1}))
    runner = make_native(model, precision="int8", blocks=1, variant=variant, threads=1)
    clear = 0
    for token, logits in singles(runner):
        reference = Reference(model)
        expected = reference.logits([token])[0]
        if reference.margin > NEAR:
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=2e-5)
            clear += 1
    assert clear >= 16


@pytest.mark.parametrize("name", [None, "some"])
@pytest.mark.parametrize("shape", ["everything", "llama-biases", "qwen3", "head-48", "head-64", "odd-d_ff"])
def test_a_whole_model_is_the_reference_of_each_token(shape: str, name: str | None, variant: str) -> None:
    clear, runner = 0, native(shape, variant, precision="int8")
    for token, logits in singles(runner, name):
        reference = Reference(small_model(shape), name, in_tiles(runner))
        expected = reference.logits([token])[0]
        if reference.margin > NEAR:
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=2e-5)
            clear += 1
    assert clear >= 8


@pytest.mark.parametrize("shape", ["everything", "mistral", "qwen2", "head-10"])
def test_a_prompt_is_the_reference_but_for_flips_of_a_rounding(shape: str, variant: str) -> None:
    runner = native(shape, variant, precision="int8")
    tokens = random_tokens(60, runner.config.vocab_size)
    (rows,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(60), "all")])
    error = (rows - Reference(small_model(shape), "all", in_tiles(runner)).logits(tokens)).abs().amax(-1)  # (T,)
    assert in_tiles(runner) or error.median() < 1e-5  # in tiles more is rounded, so more flips
    assert error.max() < FLIP


def test_a_prompt_in_tile_registers_is_the_reference_but_for_flips(variant: str) -> None:
    if variant != "amx":
        pytest.skip("the others have none")
    model = draw(DecoderConfig(**BASE | SHAPES["head-64"] | {"n_layers": 1}))
    runner = make_native(model, precision="int8", blocks=8, variant=variant, threads=1)
    tokens = random_tokens(250, runner.config.vocab_size)
    (rows,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(250))])
    reference, near = (Reference(model, tiles=tiles).logits(tokens) for tiles in (True, False))
    error, other = ((rows - expected).abs().amax(-1) for expected in (reference, near))  # (T,)
    assert error.median() < 1e-3 and error.max() < FLIP
    assert error.mean() < 0.5 * other.mean()


def test_turning_is_a_product_with_the_hadamard_matrix_and_its_own_inverse() -> None:
    rows = torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    matrix = torch.tensor([[(-1.0) ** (i & j).bit_count() for j in range(64)] for i in range(64)]) / 8
    filled = torch.nn.functional.pad(rows, (0, 28)).unflatten(1, (2, 64))
    torch.testing.assert_close(turn(rows), (filled @ matrix).flatten(1))
    torch.testing.assert_close(turn(turn(rows))[:, :100], rows)


def test_halves_are_rounded_to_even(variant: str) -> None:
    config = DecoderConfig(**BASE | {"d_model": 64, "n_layers": 1, "vocab_size": 64, "norm_eps": 0.0}, qkv_bias=False)
    model = silent(config)
    halves = torch.tensor([127.0, *(i / 2 for i in range(-31, 32))])
    with torch.no_grad():
        model.embed_tokens.copy_(127 * turn(torch.eye(64)))
        model.embed_tokens[0] = 127.0  # its norm is 1 in every place
        model.norm.weight.copy_(turn(halves[None])[0])
    logits = step(make_native(model, precision="int8", blocks=1, variant=variant), [Chunk([0], 0, [0])])[0]
    assert torch.equal(logits[1:], 127 * halves.round()[1:])


def test_a_row_of_zeros_and_an_output_of_zeros_stay_zero(variant: str) -> None:
    model = silent(DecoderConfig(**BASE))
    with torch.no_grad():
        model.embed_tokens[5] = 0.0
    runner = make_native(model, precision="int8", blocks=1, variant=variant)
    assert not runner.step([Chunk([5], 0, [0])]).any()
    assert runner.step([Chunk([6], 0, [0])])[0, 5] == 0.0


@pytest.mark.parametrize("size", [1e-20, 1e-36, 1e-38, 1e-42])
def test_activations_of_almost_nothing_round_to_almost_nothing(size: float, variant: str) -> None:
    model = silent(DecoderConfig(**BASE))
    with torch.no_grad():
        model.norm.weight.mul_(size)
    logits = step(make_native(model, precision="int8", blocks=1, variant=variant), [Chunk([5], 0, [0])])
    assert logits.abs().max() <= 100 * size


@pytest.mark.parametrize("shape", ["everything", "llama", "mistral"])
def test_all_instruction_sets_agree(shape: str, variant: str) -> None:
    runner, portable = (native(shape, one, precision="int8") for one in (variant, "portable"))
    if in_tiles(runner):
        pytest.skip("tile registers round more")
    clear = 0
    for (token, actual), (_, expected) in zip(singles(runner), singles(portable), strict=True):
        reference = Reference(small_model(shape))
        reference.logits([token])
        if reference.margin > NEAR:
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
            clear += 1
    assert clear >= 8


@pytest.mark.parametrize("name", [None, "all"])
@pytest.mark.parametrize("shape", SHAPES)
def test_8_bits_stay_near_float32(shape: str, name: str | None) -> None:
    model = small_model(shape)
    tokens = random_tokens(50, model.config.vocab_size)
    (rows,) = all_rows(native(shape, precision="int8"), [Chunk(tokens, 0, [0, 1], name)])
    with torch.inference_mode(), adapter(model, name):
        expected = model(torch.tensor([tokens]))[0]
    error = (rows - expected).square().mean().sqrt() / expected.std()
    assert error < 0.08
