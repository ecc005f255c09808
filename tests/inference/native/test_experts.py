"""Mixtures of experts in the kernels: the reference's arithmetic, and a row's bits depend on its own sequence alone."""

from __future__ import annotations

import itertools
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from quantised_reference import Reference, in_tiles
from small_models import BASE, EXPERTS, all_rows, blocks_for, draw, make_native, random_tokens, small_mixture, step
from torch import Tensor

from genwerk.inference import model_runner
from genwerk.inference.backend import load_runner
from genwerk.inference.model_runner import make_runner
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.inference.native.packed_decoder import pack_decoder, unpack_decoder
from genwerk.inference.native.packed_directory import write_packed
from genwerk.inference.runner import Chunk
from genwerk.inference.torch_runner import TorchRunner
from genwerk.models.decoder import DecoderConfig
from genwerk.models.huggingface import load_decoder, save_decoder, slots
from genwerk.models.lora import LoraConfig, adapter, adapter_parameters, add_adapter, save_adapter

PRECISIONS = ("float32", "int8", "int4")
NEAR, FLIP = 2e-4, 0.3  # see test_int8.py

pytestmark = pytest.mark.parametrize("shape", EXPERTS)


def mixture(shape: str, precision: str = "float32", variant: str | None = None, threads: int = 1) -> NativeDecoder:
    return make_native(small_mixture(shape), precision=precision, blocks=48, threads=threads, variant=variant)


def family(shape: str) -> DecoderConfig:
    """A config that can be written to a directory."""
    if shape == "unnormalised":
        pytest.skip("no family has all of its switches")
    kind = "qwen3_moe" if shape == "qwen3-moe" else "mixtral"
    return DecoderConfig(**BASE | EXPERTS[shape] | {"architecture": kind})


def prompt(shape: str, length: int, seed: int = 0) -> list[int]:
    return random_tokens(length, small_mixture(shape).config.vocab_size, seed)


def alone(shape: str, precision: str, variant: str, tokens: list[int]) -> Tensor:
    return all_rows(mixture(shape, precision, variant), [Chunk(tokens, 0, blocks_for(len(tokens)))])[0]


def test_logits_of_a_prompt_equal_the_reference(shape: str, variant: str) -> None:
    runner = mixture(shape, variant=variant)
    for length in (1, 2, 13, 33, 100):
        tokens = prompt(shape, length, seed=length)
        with torch.inference_mode():
            expected = small_mixture(shape)(torch.tensor([tokens]))[0]
        (rows,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(length))])
        torch.testing.assert_close(rows, expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.5


def test_greedy_tokens_equal_those_of_the_torch_runner(shape: str) -> None:
    runners = (mixture(shape), TorchRunner(small_mixture(shape), blocks=48))
    said: list[list[int]] = []
    for runner in runners:
        tokens = prompt(shape, 9)
        start = 0
        for _ in range(60):
            best = int(runner.step([Chunk(tokens[start:], start, blocks_for(96))])[0].argmax())
            start = len(tokens)
            tokens.append(best)
        said.append(tokens)
    assert said[0] == said[1] and len(set(said[0])) > 5


def test_integers_are_the_reference_of_each_token(shape: str, variant: str) -> None:
    runner, clear = mixture(shape, "int8", variant), 0
    for token in range(0, 96, 4):
        reference = Reference(small_mixture(shape), tiles=in_tiles(runner))
        expected = reference.logits([token])[0]
        if reference.margin > NEAR:
            torch.testing.assert_close(step(runner, [Chunk([token], 0, [0])])[0], expected, atol=1e-4, rtol=0)
            clear += 1
    assert clear >= 8


def test_a_prompt_in_integers_is_the_reference_but_for_flips_of_a_rounding(shape: str, variant: str) -> None:
    runner, tokens = mixture(shape, "int8", variant), prompt(shape, 60)
    (rows,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(60))])
    error = (rows - Reference(small_mixture(shape), tiles=in_tiles(runner)).logits(tokens)).abs().amax(-1)
    assert in_tiles(runner) or error.quantile(0.05) < 1e-5  # until the first flip, which later rows see
    assert error.quantile(0.9) < FLIP  # a flip may also choose another expert


def test_half_bytes_are_the_reference_of_the_values_they_stand_for(shape: str) -> None:
    runner, values = mixture(shape, "int4"), unpack_decoder(pack_decoder(small_mixture(shape), "int4"))
    tokens = prompt(shape, 40)
    (rows,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(40))])
    with torch.no_grad():
        expected = values(torch.tensor([tokens]))[0]
    error = (rows - expected).square().mean(-1).sqrt() / expected.std()
    assert error.median() < 0.06


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_chunk_among_others_has_the_bits_of_the_chunk_alone(shape: str, precision: str, variant: str) -> None:
    prompts = [prompt(shape, size, size) for size in (1, 1, 12, 13, 70, 100, 5)]
    chunks = [Chunk(tokens, 0, blocks_for(len(tokens), 4 * i)) for i, tokens in enumerate(prompts)]
    runner = mixture(shape, precision, variant, threads=3)
    for rows, tokens in zip(all_rows(runner, chunks), prompts, strict=True):
        assert torch.equal(rows, alone(shape, precision, variant, tokens))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_cut_anywhere_a_prompt_has_the_bits_of_one_chunk(shape: str, precision: str, variant: str) -> None:
    runner, tokens = mixture(shape, precision, variant), prompt(shape, 90)
    edges = (0, 1, 2, 30, 43, 80, 90)
    parts = [
        all_rows(runner, [Chunk(tokens[start:stop], start, [5, 1, 3])])[0] for start, stop in itertools.pairwise(edges)
    ]
    assert torch.equal(torch.cat(parts), alone(shape, precision, variant, tokens))


def test_unpacking_float_weights_gives_them_back(shape: str) -> None:
    model = small_mixture(shape)
    again = dict(slots(unpack_decoder(pack_decoder(model, "float32"))))
    assert all(torch.equal(again[name], slot) for name, slot in slots(model))


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_a_packed_directory_is_served_as_it_was_packed(shape: str, precision: str, tmp_path: Path) -> None:
    model = draw(family(shape))
    save_decoder(model, tmp_path / "float")
    (tmp_path / "packed").mkdir()
    write_packed(pack_decoder(model, precision), tmp_path / "packed", tmp_path / "float")
    served = load_runner(tmp_path / "packed", precision=precision, positions=256)
    assert isinstance(served, NativeDecoder)
    chunk = Chunk(prompt(shape, 50), 0, blocks_for(50))
    fresh = NativeDecoder(pack_decoder(model, precision), blocks=8)
    assert torch.equal(all_rows(served, [chunk])[0], all_rows(fresh, [chunk])[0])


@pytest.mark.parametrize("precision", PRECISIONS[:2])
def test_pytorch_serves_an_adapter_of_experts_from_weights_that_were_read_once(
    shape: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = draw(family(shape))
    save_decoder(model, tmp_path / "model")
    add_adapter(model, "tuned", LoraConfig(rank=3, targets=("up_proj",)), seed=1)
    save_adapter(model, "tuned", tmp_path / "adapter", "tiny")
    read = Mock(side_effect=load_decoder)
    monkeypatch.setattr(model_runner, "load_decoder", read)
    runner = load_runner(
        tmp_path / "model", precision=precision, positions=64, adapters={"tuned": tmp_path / "adapter"}
    )
    assert isinstance(runner, TorchRunner) and runner.adapters == ("tuned",)
    read.assert_called_once()


def test_an_adapter_of_the_attention_is_the_references_and_one_of_experts_is_refused(shape: str) -> None:
    model = draw(DecoderConfig(**BASE | EXPERTS[shape]))
    for name, targets in (("attention", ("q_proj", "o_proj")), ("experts", ("q_proj", "up_proj"))):
        add_adapter(model, name, LoraConfig(rank=3, targets=targets), seed=1)
        with torch.no_grad():
            for parameter in adapter_parameters(model, name):
                parameter.normal_(std=0.2)
    tokens = prompt(shape, 20)
    runner = make_runner(model, engine="native", positions=64, adapters=("attention",))
    with torch.inference_mode(), adapter(model, "attention"):
        expected = model(torch.tensor([tokens]))[0, -1]
    found = step(runner, [Chunk(tokens, 0, [0], "attention")])[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    with pytest.raises(NativeUnavailableError, match="`experts`, which changes experts"):
        make_runner(model, engine="native", positions=64, adapters=("experts",))
    assert isinstance(make_runner(model, positions=64, adapters=("experts",)), TorchRunner)


def test_broken_weights_of_a_router_do_not_become_text(shape: str) -> None:
    for broken in (float("nan"), float("inf")):
        model = draw(DecoderConfig(**BASE | EXPERTS[shape]))
        with torch.no_grad():
            model.layers[0].mlp.router.weight[0] = broken
        assert not step(make_native(model, blocks=1), [Chunk([5], 0, [0])]).isfinite().all()
