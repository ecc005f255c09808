"""Windows with sinks: the paper's positions within the cache, in both runners, in bounded memory."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_models import BASE, all_rows, blocks_for, draw, make_native, random_tokens, step
from torch import Tensor
from torch.nn import functional as F

from genwerk.core.errors import ModelError
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.inference.runner import BLOCK, Chunk
from genwerk.inference.torch_runner import TorchRunner
from genwerk.models.decoder import Attention, Decoder, DecoderConfig
from genwerk.models.kv_cache import KVCache
from genwerk.models.rope_table import rotate

KINDS = {
    "4-of-20": {"sliding_window": 20, "sinks": 4},
    "1-of-1": {"sliding_window": 1, "sinks": 1},
    "32-of-33": {"sliding_window": 33, "sinks": 32},
    "7-of-70": {"sliding_window": 70, "sinks": 7, "head_dim": 32},
    "qwen3": {"sliding_window": 45, "sinks": 5, "qk_norm": True, "head_dim": 64, "n_heads": 3, "n_kv_heads": 1},
}


def streaming(kind: str) -> Decoder:
    return draw(DecoderConfig(**BASE | KINDS[kind]))


def paper_attention(model: Decoder, part: Attention, x: Tensor) -> Tensor:
    """Query by query: the cache of this moment, unturned, at positions 0, 1, ..., the query behind it."""
    config, size, sinks = model.config, model.config.sliding_window or 0, model.config.sinks
    heads = config.n_heads + config.n_kv_heads
    qk, v = part.qkv(x).view(len(x), -1, config.head_dim).split((heads, config.n_kv_heads), 1)
    if part.qk_norm is not None:
        qk = F.rms_norm(qk, (config.head_dim,), None, config.norm_eps) * part.qk_norm[part.norm_rows]
    rows = []
    for now in range(len(x)):
        cache = sorted({*range(min(sinks, now + 1)), *range(max(0, now - size + 1), now + 1)})
        cos, sin = model.rope.rows(0, len(cache), x)
        turned = rotate(
            torch.cat((qk[now, : config.n_heads].expand(len(cache), -1, -1), qk[cache, config.n_heads :]), 1)[None],
            cos,
            sin,
        )[0]
        q, k = turned[-1, : config.n_heads], turned[:, config.n_heads :]
        mixed = F.scaled_dot_product_attention(
            q[None, :, None], k.transpose(0, 1)[None], v[cache].transpose(0, 1)[None], enable_gqa=True
        )
        rows.append(mixed.flatten())
    return part.out(torch.stack(rows))


@torch.no_grad()
def paper_logits(model: Decoder, tokens: list[int]) -> Tensor:
    x = model.embed_tokens[tokens]
    for block in model.layers:
        x = x + paper_attention(model, block.self_attn, block.input_layernorm(x))
        x = x + block.mlp(block.post_attention_layernorm(x))
    return model.logits(model.norm(x))


@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_and_the_kernels_equal_the_paper(kind: str, variant: str) -> None:
    model = streaming(kind)
    tokens = random_tokens(130, 97)
    expected = paper_logits(model, tokens)
    with torch.no_grad():
        torch.testing.assert_close(model(torch.tensor([tokens]))[0], expected, atol=1e-4, rtol=0)
    runner = make_native(model, blocks=8, variant=variant, threads=1)
    torch.testing.assert_close(all_rows(runner, [Chunk(tokens, 0, blocks_for(130))])[0], expected, atol=1e-4, rtol=0)
    plain = draw(DecoderConfig(**BASE | KINDS[kind] | {"sinks": 0}))
    with torch.no_grad():
        assert (plain(torch.tensor([tokens]))[0] - expected).std() > 0.1  # the sinks matter


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [(0, 1, 2, 3, 4, 130), (0, 40, 41, 90, 130), (0, 25, 64, 129, 130)])
def test_a_text_cut_anywhere_with_hidden_blocks_taken_away_is_the_same(kind: str, cuts: tuple[int, ...]) -> None:
    model, tokens = streaming(kind), random_tokens(130, 97)
    expected = paper_logits(model, tokens)
    view = model.config.view
    assert view is not None
    cache, torch_runner, native = KVCache(model.config, 130), TorchRunner(model, blocks=8), make_native(model, blocks=8)
    whole = all_rows(make_native(model, blocks=8), [Chunk(tokens, 0, blocks_for(130))])[0]
    for start, stop in itertools.pairwise(cuts):
        unseen = view.unseen(start)
        table = [-1 if BLOCK * i >= unseen.start and BLOCK * (i + 1) <= unseen.stop else 7 - i for i in range(5)]
        chunk = Chunk(tokens[start:stop], start, table, wanted=stop - start)
        with torch.no_grad():
            cached = model(torch.tensor([tokens[start:stop]]), cache=cache)[0]
        for rows in (cached, step(torch_runner, [chunk])):
            torch.testing.assert_close(rows, expected[start:stop], atol=1e-4, rtol=0)
        assert torch.equal(step(native, [chunk]), whole[start:stop])


@pytest.mark.parametrize("cache", ["auto", "int8"])
@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("kind", KINDS)
def test_in_integers_token_by_token_has_the_bits_of_one_chunk(
    kind: str, precision: str, cache: str, variant: str
) -> None:
    model, tokens = streaming(kind), random_tokens(110, 97)
    settings = {"precision": precision, "cache_precision": cache, "variant": variant, "blocks": 8, "threads": 2}
    one, many = (make_native(model, **settings) for _ in range(2))
    whole = all_rows(one, [Chunk(tokens, 0, blocks_for(110))])[0]
    singles = [step(many, [Chunk([token], i, [3, 5, 1, 0])]) for i, token in enumerate(tokens)]
    assert torch.equal(torch.cat(singles), whole)
    with torch.no_grad():
        near = model(torch.tensor([tokens]))[0]
    assert ((whole - near).square().mean().sqrt() / near.std()) < (0.08 if precision == "int8" else 0.6)


def test_a_block_that_is_still_seen_may_not_be_gone() -> None:
    runner = make_native(streaming("4-of-20"), blocks=8)
    tokens = random_tokens(120, 97)
    runner.step([Chunk(tokens[:119], 0, [0, 1, 2, 3])])
    runner.step([Chunk(tokens[119:], 119, [0, -1, -1, 3])])
    for table in ([-1, -1, -1, 3], [0, -1, 2, -1], [0, -1, 2, 8]):
        with pytest.raises(ModelError, match="names blocks"):
            runner.step([Chunk(tokens[119:], 119, table)])


def test_sinks_need_a_window_and_fit_into_a_block() -> None:
    with pytest.raises(ModelError, match="sinks need a window"):
        DecoderConfig(**BASE, sinks=4)
    with pytest.raises(ModelError, match="sinks need a window"):
        DecoderConfig(**BASE, sinks=4, sliding_window=8, full_layers=(0,))
    with pytest.raises(NativeUnavailableError, match="32 sinks at most"):
        make_native(draw(DecoderConfig(**BASE, sinks=33, sliding_window=8)), blocks=4)
