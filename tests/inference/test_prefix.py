from __future__ import annotations

import pytest

from genwerk.inference.prefix import BLOCK, PrefixStore
from genwerk.models.decoder import DecoderConfig
from genwerk.models.kv_cache import KVCache

SMALL = DecoderConfig(
    vocab_size=8, d_model=4, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=4, d_ff=4, max_positions=4096
)


def cache_of(length: int) -> KVCache:
    cache = KVCache(SMALL, 4096)
    cache.advance(length)
    return cache


def prompt(length: int, *, differs_at: int | None = None) -> list[int]:
    return [i % 5 if i != differs_at else 7 for i in range(length)]


@pytest.mark.parametrize(
    ("kept", "asked", "differs_at", "reused"),
    [
        (3 * BLOCK, 3 * BLOCK + 9, None, 3 * BLOCK),
        (3 * BLOCK, 3 * BLOCK, None, 2 * BLOCK),  # the last token is always computed, for its logits
        (3 * BLOCK + 100, 3 * BLOCK + 100, None, 3 * BLOCK),
        (3 * BLOCK, 3 * BLOCK, BLOCK, BLOCK),
        (3 * BLOCK, 3 * BLOCK, BLOCK - 1, 0),
        (3 * BLOCK, BLOCK // 2, None, 0),
    ],
)
def test_whole_blocks_that_agree_are_reused(kept: int, asked: int, differs_at: int | None, reused: int) -> None:
    store = PrefixStore(10_000)
    store.give(None, prompt(kept), cache_of(kept + 40))
    found = store.take(None, prompt(asked, differs_at=differs_at))
    assert (found.length if found else 0) == reused


def test_adapters_do_not_share() -> None:
    store = PrefixStore(10_000)
    store.give("a", prompt(600), cache_of(600))
    assert store.take(None, prompt(600)) is None
    assert store.take("b", prompt(600)) is None
    assert store.take("a", prompt(600)) is not None


def test_a_cache_in_use_is_not_given_out_again() -> None:
    store = PrefixStore(10_000)
    store.give(None, prompt(600), cache_of(600))
    assert store.take(None, prompt(600)) is not None
    assert store.take(None, prompt(600)) is None


def test_a_prompt_read_in_part_keeps_the_blocks_it_has() -> None:
    store = PrefixStore(10_000)
    store.give(None, prompt(1000), cache_of(BLOCK))
    found = store.take(None, prompt(1000))
    assert found is not None
    assert found.length == BLOCK


def test_the_longest_unused_leaves_when_there_is_no_room() -> None:
    store = PrefixStore(2 * BLOCK)
    for name in ("first", "second", "third"):
        store.give(name, prompt(BLOCK + 1), cache_of(BLOCK + 1))
    assert store.take("first", prompt(BLOCK + 1)) is None
    assert store.take("second", prompt(BLOCK + 1)) is not None
    assert store.take("third", prompt(BLOCK + 1)) is not None


def test_a_prompt_longer_than_the_store_is_not_kept() -> None:
    store = PrefixStore(BLOCK)
    store.give(None, prompt(3 * BLOCK), cache_of(3 * BLOCK))
    assert store.take(None, prompt(3 * BLOCK)) is None
