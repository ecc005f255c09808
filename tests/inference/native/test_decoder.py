"""The native decoder equals models/decoder.py, and a row's bits depend on its own sequence alone."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import (
    ADAPTERS,
    BASE,
    SHAPES,
    VARIANTS,
    all_rows,
    blocks_for,
    draw,
    make_native,
    native,
    random_tokens,
    small_model,
    step,
    usable,
)
from torch import Tensor

from genwerk.core.errors import ModelError
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.inference.runner import BLOCK, Chunk
from genwerk.inference.torch_runner import TorchRunner
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.lora import adapter

LENGTHS = (1, 2, 7, 12, 13, 31, 32, 33, 64, 65, 100, 200)
INVARIANT = ("everything", "mistral", "many-share-a-key", "odd-d_ff", "head-32", "head-64")
PRECISIONS = ("float32", "int8")
CACHES = ("auto", "int8")


def expected_rows(shape: str, tokens: list[int], name: str | None = None) -> Tensor:
    """(T, V) of the reference."""
    model = small_model(shape)
    with torch.inference_mode(), adapter(model, name):
        return model(torch.tensor([tokens]))[0]


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


# Parity


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_of_a_prompt_equal_the_reference(shape: str, variant: str) -> None:
    runner = native(shape, variant)
    for length in LENGTHS:
        tokens = random_tokens(length, runner.config.vocab_size, seed=length)
        expected = expected_rows(shape, tokens)
        (actual,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(length))])
        assert actual.shape == expected.shape
        close(actual, expected)
    assert expected.std() > 0.5  # large enough that an error would show


@given(length=st.integers(1, 200), seed=st.integers(0, 999), shape=st.sampled_from(sorted(SHAPES)))
@settings(max_examples=40, deadline=None)
def test_the_last_row_of_a_prompt_of_any_length_equals_the_reference(length: int, seed: int, shape: str) -> None:
    runner = kept(shape, "portable", "float32 auto")
    tokens = random_tokens(length, runner.config.vocab_size, seed)
    close(step(runner, [Chunk(tokens, 0, blocks_for(length))])[0], expected_rows(shape, tokens)[-1])


@pytest.mark.parametrize("shape", ["everything", "mistral"])
def test_the_torch_runner_gives_the_same_logits_for_the_same_chunks(shape: str) -> None:
    runners = (native(shape), TorchRunner(small_model(shape), blocks=48, adapters=tuple(ADAPTERS)))
    tokens = random_tokens(90, runners[0].config.vocab_size)
    for start, stop, table in ((0, 40, [7, 2]), (40, 41, [7, 2]), (41, 90, [7, 2, 30])):
        chunks = [Chunk(tokens[start:stop], start, table, name) for name in (None, "all")]
        chunks[1] = Chunk(chunks[1].tokens, start, [block + 10 for block in table], "all")
        actual, expected = (step(runner, chunks) for runner in runners)
        close(actual, expected)


def test_the_logits_of_the_last_tokens_come_chunk_by_chunk(variant: str) -> None:
    runner = native("qwen2", variant)
    chunks = [Chunk(random_tokens(9, 97), 0, [0]), Chunk(random_tokens(40, 97, seed=1), 0, [1, 2])]
    every = torch.cat(all_rows(runner, chunks))
    assert torch.equal(step(runner, chunks), every[[8, 48]])
    assert torch.equal(step(runner, [replace(chunks[0], wanted=3), chunks[1]]), every[[6, 7, 8, 48]])


def test_heads_the_kernels_have_no_room_for_are_refused() -> None:
    config = DecoderConfig(**BASE | {"head_dim": 258, "n_heads": 1, "n_kv_heads": 1, "n_layers": 1})
    with pytest.raises(NativeUnavailableError, match="258"):
        make_native(Decoder(config), blocks=4)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(NativeUnavailableError, match="abacus"):
        native("llama", "abacus")


# Adapters


@pytest.mark.parametrize("shape", ["everything", "llama", "mistral", "one-head"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_equals_the_reference_with_it(shape: str, name: str, variant: str) -> None:
    runner = native(shape, variant)
    for length in (1, 12, 70):
        tokens = random_tokens(length, runner.config.vocab_size, seed=length)
        expected = expected_rows(shape, tokens, name)
        (actual,) = all_rows(runner, [Chunk(tokens, 0, blocks_for(length), name)])
        close(actual, expected)
    assert (expected - expected_rows(shape, tokens)).std() > 0.1  # the adapter matters


def test_several_adapters_of_a_batch_keep_to_their_own_sequences(variant: str) -> None:
    runner = native("everything", variant)
    names = [None, "all", "some", "wide", "some", None, "all"]
    prompts = [random_tokens(5 + 9 * i, 258, seed=i) for i in range(len(names))]
    chunks = [
        Chunk(tokens, 0, blocks_for(len(tokens), 4 * i), name)
        for i, (tokens, name) in enumerate(zip(prompts, names, strict=True))
    ]
    for rows, chunk in zip(all_rows(runner, chunks), chunks, strict=True):
        close(rows, expected_rows("everything", list(chunk.tokens), chunk.adapter))


# Invariance, to the bit


# Weights and cache of a runner: "int8 int8".
NUMBERS = [f"{precision} {cache}" for precision in PRECISIONS for cache in CACHES]


def made(shape: str, variant: str, numbers: str, threads: int = 1) -> NativeDecoder:
    precision, cache = numbers.split()
    return native(shape, variant, precision=precision, cache_precision=cache, threads=threads)


@functools.cache
def kept(shape: str, variant: str, numbers: str) -> NativeDecoder:
    """A runner whose cache holds what earlier calls left in it."""
    return made(shape, variant, numbers)


def in_one_chunk(shape: str, variant: str, numbers: str, tokens: list[int], name: str | None) -> Tensor:
    runner = made(shape, variant, numbers)
    return all_rows(runner, [Chunk(tokens, 0, blocks_for(len(tokens)), name)])[0]


def invariant(test: Callable[..., None]) -> Callable[..., None]:
    """For every shape, precision of weights and of the cache."""
    for name, values in (("numbers", NUMBERS), ("shape", INVARIANT)):
        test = pytest.mark.parametrize(name, values)(test)
    return test


@invariant
def test_a_chunk_among_others_has_the_bits_of_the_chunk_alone(shape: str, numbers: str, variant: str) -> None:
    sizes, starts = (1, 1, 5, 12, 13, 33, 70, 1, 100, 7), (0, 40, 0, 3, 32, 31, 0, 99, 1, 64)
    names = (None, "all", "some", "wide", None, "all", "some", None, "all", "wide")
    batch = made(shape, variant, numbers)
    prompts = [
        random_tokens(a + b, batch.config.vocab_size, i) for i, (a, b) in enumerate(zip(sizes, starts, strict=True))
    ]
    tables = [blocks_for(len(tokens), 4 * i) for i, tokens in enumerate(prompts)]
    kinds = list(zip(prompts, starts, tables, names, strict=True))
    before = [Chunk(tokens[:start], 0, table, name) for tokens, start, table, name in kinds if start]
    chunks = [Chunk(tokens[start:], start, table, name) for tokens, start, table, name in kinds]
    batch.step(before)
    for rows, (tokens, start, table, name) in zip(all_rows(batch, chunks), kinds, strict=True):
        alone = made(shape, variant, numbers)
        if start:
            alone.step([Chunk(tokens[:start], 0, table, name)])
        assert torch.equal(rows, all_rows(alone, [Chunk(tokens[start:], start, table, name)])[0])


@invariant
@given(
    cuts=st.sets(st.integers(1, 129), max_size=6),
    blocks=st.permutations(range(8)),
    name=st.sampled_from([None, "all", "some"]),
)
@settings(max_examples=10, deadline=None)
def test_cut_anywhere_in_any_blocks_a_prompt_has_the_bits_of_one_chunk(
    shape: str, numbers: str, cuts: set[int], blocks: list[int], name: str | None
) -> None:
    for variant in filter(usable, VARIANTS):
        runner = kept(shape, variant, numbers)
        tokens = random_tokens(130, runner.config.vocab_size, seed=sum(cuts))
        edges = [0, *sorted(cuts), 130]
        parts = [
            all_rows(runner, [Chunk(tokens[start:stop], start, blocks[:5], name)])[0]
            for start, stop in itertools.pairwise(edges)
        ]
        assert torch.equal(torch.cat(parts), in_one_chunk(shape, variant, numbers, tokens, name))


@invariant
def test_token_by_token_has_the_bits_of_one_chunk(shape: str, numbers: str, variant: str) -> None:
    runner = made(shape, variant, numbers)
    tokens = random_tokens(75, runner.config.vocab_size)
    singles = [step(runner, [Chunk([token], i, [9, 4, 6], "all")]) for i, token in enumerate(tokens)]
    assert torch.equal(torch.cat(singles), in_one_chunk(shape, variant, numbers, tokens, "all"))


@invariant
def test_three_threads_give_the_bits_of_one(shape: str, numbers: str, variant: str) -> None:
    one, three = (made(shape, variant, numbers, threads) for threads in (1, 3))
    prompts = [random_tokens(size, one.config.vocab_size, size) for size in (1, 130, 9, 40)]
    names = (None, "some", "all", "wide")
    chunks = [Chunk(tokens, 0, blocks_for(130, 6 * i), names[i]) for i, tokens in enumerate(prompts)]
    for _ in range(3):
        assert torch.equal(torch.cat(all_rows(three, chunks)), torch.cat(all_rows(one, chunks)))


BFLOAT16 = {math.nan: 0x7FC0, math.inf: 0x7F80}


@invariant
@pytest.mark.parametrize("stale", BFLOAT16)
def test_what_others_left_in_a_block_changes_nothing(shape: str, numbers: str, variant: str, stale: float) -> None:
    runner = made(shape, variant, numbers)
    tokens = random_tokens(75, runner.config.vocab_size)
    for held in (runner.keys, runner.values):
        if held.dtype == "uint8":  # bytes are always numbers, scales need not be
            scales = held[..., -4 * BLOCK :].view("float32")
            held.fill(0xA5)
            scales[:] = stale
        else:
            held.fill(BFLOAT16[stale] if held.dtype == "uint16" else stale)
    parts = [
        all_rows(runner, [Chunk(tokens[start:stop], start, [5, 1, 3])])[0]
        for start, stop in ((0, 3), (3, 40), (40, 75))
    ]
    assert torch.equal(torch.cat(parts), in_one_chunk(shape, variant, numbers, tokens, None))


@pytest.mark.parametrize("numbers", NUMBERS)
def test_a_sequence_reads_nothing_of_the_one_that_had_its_blocks(numbers: str, variant: str) -> None:
    runner = made("everything", variant, numbers)
    runner.step([Chunk(random_tokens(200, 258, seed=5), 0, [3, 1, 0, 2, 6, 4, 5], "all")])
    tokens = random_tokens(70, 258)
    (rows,) = all_rows(runner, [Chunk(tokens, 0, [2, 3, 0])])
    assert torch.equal(rows, in_one_chunk("everything", variant, numbers, tokens, None))


# What a step writes, and what it refuses


@pytest.mark.parametrize("shape", ["everything", "head-64"])
def test_bytes_of_a_position_are_the_same_however_its_prompt_was_cut(shape: str, variant: str) -> None:
    tokens, table = random_tokens(75, small_model(shape).config.vocab_size), [5, 1, 3]
    whole, parts = (made(shape, variant, "int8 int8") for _ in range(2))
    whole.step([Chunk(tokens, 0, table)])
    for start, stop in ((0, 3), (3, 40), (40, 75)):
        parts.step([Chunk(tokens[start:stop], start, table)])
    assert whole.read_blocks(table) == parts.read_blocks(table)


@pytest.mark.parametrize("numbers", NUMBERS)
def test_blocks_that_were_copied_or_put_back_are_those_that_were_written(numbers: str, variant: str) -> None:
    runner, tokens = made("everything", variant, numbers), random_tokens(80, 258)
    expected = in_one_chunk("everything", variant, numbers, tokens, None)
    runner.step([Chunk(tokens[:70], 0, [0, 1, 2])])
    runner.copy_blocks([(0, 7), (1, 8), (2, 9)])
    fresh = made("everything", variant, numbers)
    fresh.write_blocks([4, 6, 5], runner.read_blocks([0, 1, 2]))
    for one, table in ((runner, [7, 8, 9]), (fresh, [4, 6, 5])):
        assert torch.equal(all_rows(one, [Chunk(tokens[70:], 70, table)])[0], expected[70:])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_in_bytes_a_token_that_is_not_a_number_is_seen_by_those_behind_it(precision: str, variant: str) -> None:
    model = draw(DecoderConfig(**BASE))
    with torch.no_grad():
        model.embed_tokens[5] = math.nan
    runner = make_native(model, precision=precision, cache_precision="int8", variant=variant, blocks=1)
    (rows,) = all_rows(runner, [Chunk([3, 5, 8, 9], 0, [0])])
    others = [token for token in range(97) if token != 5]  # embeddings are tied
    assert rows[0, others].isfinite().all() and rows[1:].isnan().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("matrix", ["q", "k", "v"])
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("shape", ["mistral", "head-64"])
def test_attention_over_what_is_no_number_is_no_number(
    shape: str, numbers: str, matrix: str, bad: float, variant: str
) -> None:
    model, (precision, cache) = copy.deepcopy(small_model(shape)), numbers.split()
    config = model.config
    first = {"q": 0, "k": config.n_heads, "v": config.n_heads + config.n_kv_heads}[matrix] * config.head_dim
    with torch.no_grad():
        model.layers[-1].self_attn.qkv.weight[first + 1] = bad  # type: ignore[union-attr, index]
    runner = make_native(model, precision=precision, cache_precision=cache, variant=variant, blocks=4, threads=1)
    tokens = random_tokens(100, config.vocab_size)
    for start, stop in ((0, 40), (40, 41), (41, 100)):
        (rows,) = all_rows(runner, [Chunk(tokens[start:stop], start, blocks_for(100))])
        assert not rows.isfinite().any()


def test_bytes_and_scales_take_half_of_16_bits() -> None:
    wide, bytes_ = (native("head-64", precision="int8", cache_precision=cache) for cache in CACHES)
    sizes = [runner.keys.nbytes + runner.values.nbytes for runner in (wide, bytes_)]
    assert sizes[1] / sizes[0] == (64 + 4) / (2 * 64)


def test_a_step_writes_its_own_positions_only(variant: str) -> None:
    runner = native("qwen3", variant)
    runner.keys.fill(7.0)
    runner.values.fill(7.0)
    runner.step([Chunk(random_tokens(40, 97), 0, [9, 4])])
    heads, size = runner.config.n_kv_heads, runner.config.head_dim
    keys = torch.from_numpy(runner.keys).view(-1, 48, heads, size, BLOCK).transpose(3, 4)  # (L, blocks, K, 32, D)
    values = torch.from_numpy(runner.values).view(-1, 48, heads, BLOCK, size)
    for held in (keys, values):
        written = (held != 7.0).any(-1).any(2)  # (L, blocks, 32)
        expected = torch.zeros_like(written)
        expected[:, 9], expected[:, 4, :8] = True, True
        assert torch.equal(written, expected)


GOOD = Chunk([1, 2, 3], 0, [0])
REFUSED = {
    "no tokens": Chunk([], 0, [0]),
    "no blocks": Chunk([1], 0, []),
    "table too short": Chunk([1] * 33, 0, [0]),
    "table too short for the start": Chunk([1], 32, [0]),
    "negative start": Chunk([1], -1, [0]),
    "more positions than the model has": Chunk([1], 512, list(range(17))),
    "block too high": Chunk([1], 0, [48]),
    "unused block too high": Chunk([1], 0, [0, 48]),
    "negative block": Chunk([1], 0, [-1]),
    "token too high": Chunk([97], 0, [0]),
    "negative token": Chunk([-1], 0, [0]),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_would_reach_outside_is_refused_and_nothing_written(reason: str) -> None:
    runner = native("llama")
    for chunks in ([REFUSED[reason]], [GOOD, REFUSED[reason]], [REFUSED[reason], GOOD]):
        with pytest.raises(ModelError):
            runner.step(chunks)
    assert not runner.keys.any()
    assert not runner.values.any()


def test_fewer_positions_than_the_model_has_are_the_limit() -> None:
    runner = native("llama", positions=40)
    assert step(runner, [Chunk([1] * 40, 0, [0, 1])]).isfinite().all()
    with pytest.raises(ModelError, match="positions"):
        runner.step([Chunk([1] * 41, 0, [0, 1])])
