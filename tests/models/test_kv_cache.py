"""Invariant: what is decoded with a cache, in any cutting of the tokens, is what is decoded without."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.errors import ModelError
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.kv_cache import KVCache


def make(window: int | None = None, sinks: int = 0, full_layers: tuple[int, ...] = ()) -> Decoder:
    torch.manual_seed(5)
    config = DecoderConfig(
        vocab_size=50, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=48, max_positions=1024,
        qk_norm=True, architecture="qwen3", sliding_window=window, sinks=sinks, full_layers=full_layers,
    )  # fmt: skip
    model = Decoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.shape[0] > 2 and parameter.ndim == 2 else 1)
    return model


MODELS = {"full": make(), "window": make(7), "sinks": make(7, sinks=3), "some": make(7, full_layers=(1,))}


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    kind=st.sampled_from(sorted(MODELS)),
    batch=st.integers(1, 2),
)
def test_cached_equals_uncached_for_any_cutting(cuts: list[int], kind: str, batch: int) -> None:
    model = MODELS[kind]
    tokens = torch.randint(0, 50, (batch, sum(cuts)), generator=torch.Generator().manual_seed(sum(cuts)))
    cache = KVCache(model.config, tokens.shape[1], batch=batch)
    with torch.inference_mode():
        pieces = [model(piece, cache=cache) for piece in tokens.split(cuts, dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), model(tokens), atol=1e-4, rtol=1e-4)
    assert cache.length == tokens.shape[1]


@torch.inference_mode()
def test_truncated_cache_goes_on_as_if_the_rest_was_never_there() -> None:
    model = MODELS["full"]
    tokens = torch.arange(20)[None]
    cache = KVCache(model.config, 64)
    model(tokens, cache=cache)
    cache.truncate(9)
    other = torch.tensor([[3, 1, 4]])
    torch.testing.assert_close(
        model(other, cache=cache), model(torch.cat((tokens[:, :9], other), 1))[:, 9:], atol=1e-4, rtol=1e-4
    )
    with pytest.raises(ModelError, match="truncate"):
        cache.truncate(13)


@torch.inference_mode()
def test_growing_keeps_what_is_held() -> None:
    model = MODELS["full"]
    tokens = torch.randint(0, 50, (1, 600), generator=torch.Generator().manual_seed(0))
    cache = KVCache(model.config, 600)
    pieces = [model(piece, cache=cache) for piece in tokens.split([250, 1, 10, 1, 338], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(tokens), atol=2e-4, rtol=1e-3)


def test_full_cache_is_refused_and_says_how_many() -> None:
    model = MODELS["full"]
    cache = KVCache(model.config, 8)
    with torch.inference_mode():
        model(torch.zeros(1, 6, dtype=torch.int64), cache=cache)
        with pytest.raises(ModelError, match="holds 8 positions, 9 are needed"):
            model(torch.zeros(1, 3, dtype=torch.int64), cache=cache)


def test_cache_made_in_inference_mode_works_outside() -> None:
    model = MODELS["full"]
    with torch.inference_mode():
        cache = KVCache(model.config, 8)
    with torch.no_grad():
        assert model(torch.zeros(1, 2, dtype=torch.int64), cache=cache).shape == (1, 2, 50)
