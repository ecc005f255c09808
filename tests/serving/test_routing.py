"""Invariant: a prompt goes where its beginning is, unless that replica is much busier; nothing else decides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genwerk.inference.blocks import BlockManager, chain_of
from genwerk.inference.runner import BLOCK
from genwerk.serving.routing import Router

ALL = (0, 1, 2)


def chain(*words: str) -> tuple[bytes, ...]:
    return tuple("/".join(words[: place + 1]).encode() for place in range(len(words)))


def test_a_conversation_stays_where_it_began() -> None:
    router = Router(3)
    router.learn(chain("system", "hello"), 1)
    assert router.choose(chain("system", "hello", "answer", "next"), [1, 1, 1], ALL) == 1
    assert router.choose(chain("system", "other"), [0, 2, 0], ALL) == 1  # even a part of it is worth a wait


def test_the_longest_beginning_wins_and_only_a_beginning_counts() -> None:
    router = Router(2)
    router.learn(chain("a"), 0)
    router.learn(chain("a", "b"), 1)
    assert router.choose(chain("a", "b", "c"), [0, 3], (0, 1)) == 1
    router.learn(chain("x", "b", "c", "d"), 0)
    assert router.choose(chain("a", "b", "c", "d"), [0, 3], (0, 1)) == 1


def test_a_favourite_that_is_much_busier_is_passed_over() -> None:
    router = Router(3, slack=2)
    router.learn(chain("a", "b"), 0)
    assert router.choose(chain("a", "b"), [2, 0, 1], ALL) == 0
    assert router.choose(chain("a", "b"), [3, 1, 0], ALL) == 2
    assert router.choose(chain("a", "b"), [9, 9, 9], ALL) == 0


def test_what_is_new_goes_to_the_least_busy_and_then_to_who_holds_least() -> None:
    router = Router(3)
    router.learn(chain("a", "b"), 0)
    router.learn(chain("c"), 1)
    assert router.choose(chain("z"), [1, 1, 0], ALL) == 2
    assert router.choose(chain("z"), [0, 0, 0], ALL) == 2
    assert router.choose((), [0, 0, 0], (0, 1)) == 1


def test_one_that_began_anew_holds_nothing_and_one_that_is_down_gets_nothing() -> None:
    router = Router(2)
    router.learn(chain("a", "b"), 0)
    assert router.choose(chain("a", "b"), [0, 0], (1,)) == 1
    router.forget(0)
    assert router.match(chain("a", "b"), 0) == 0


def test_the_beginning_is_forgotten_last() -> None:
    router = Router(1, kept=3)
    router.learn(chain("a", "b", "c", "d"), 0)
    assert router.match(chain("a", "b", "c", "d"), 0) == 3


tokens = st.lists(st.integers(0, 2), max_size=5 * BLOCK)


@given(tokens, tokens, st.sampled_from([None, "tuned"]))
def test_chains_have_in_common_what_the_cache_would_share(
    first: list[int], second: list[int], adapter: str | None
) -> None:
    blocks = BlockManager(64)
    table = blocks.open(adapter, first)
    assert blocks.extend(table, len(first))
    blocks.seal(table, first, len(first))
    assert tuple(table.keys) == chain_of(adapter, first)
    router = Router(1)
    router.learn(chain_of(adapter, first), 0)
    shared = len(blocks.open(adapter, [*second, 0]).blocks)
    assert router.match(chain_of(adapter, second), 0) == shared


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 1), max_size=6), st.integers(0, 2)), max_size=20),
    st.lists(st.integers(0, 1), max_size=6),
    st.lists(st.integers(0, 12), min_size=3, max_size=3),
    st.sets(st.sampled_from(ALL), min_size=1),
)
def test_the_choice_is_the_best_match_within_the_slack(
    history: list[tuple[list[int], int]], prompt: list[int], busy: list[int], usable: set[int]
) -> None:
    router = Router(3, slack=4)
    for words, replica in history:
        router.learn(chain(*map(str, words)), replica)
    asked = chain(*map(str, prompt))
    choice = router.choose(asked, busy, sorted(usable))
    assert choice in usable
    least, best = min(busy[one] for one in usable), max(router.match(asked, one) for one in usable)
    assert busy[choice] - least <= 4
    if router.match(asked, choice) < best:
        assert busy[choice] == least
        best_ones = [one for one in usable if router.match(asked, one) == best]
        assert all(busy[one] - least > 4 for one in best_ones if busy[one] == min(busy[b] for b in best_ones))
