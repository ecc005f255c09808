"""Banned words: never in the text, however it is cut into tokens, and as rarely in the way as can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.errors import RequestError
from genwerk.core.types import Constraint, Message, Request, Sampling
from genwerk.inference.banned_words import BannedWords
from genwerk.inference.engine import Engine
from genwerk.inference.vocabulary import Vocabulary


def ask(words: Sequence[str], constraint: Constraint | None = None, **sampling: Any) -> Request:
    settings = Sampling(**{"max_tokens": 200, "temperature": 1.0, "top_k": 3} | sampling, bad_words=tuple(words))
    return Request((Message("user", "Hello"),), settings, constraint=constraint)


def tokens_of(*texts: bytes) -> Any:
    """A tokenizer whose tokens are `texts`."""
    return SimpleNamespace(special_ids=frozenset(), token_bytes=lambda token: texts[token])


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(st.text("abc", max_size=4), min_size=1, max_size=12),
    st.randoms(),
)
def test_a_token_is_banned_exactly_where_it_completes_a_word(words: list[str], pieces: list[str], random: Any) -> None:
    texts = [piece.encode() for piece in pieces]
    rule = BannedWords(words, Vocabulary(tokens_of(*texts), len(texts)))
    said = b""
    for _ in range(30):
        free = [text for text in texts if not any(word.encode() in said + text for word in words)]
        if not free:
            with pytest.raises(RequestError, match="banned word") as caught:
                rule.restrict(np.zeros(len(texts), np.float32))
            assert caught.value.param == "bad_words"
            return
        allowed = rule.restrict(np.zeros(len(texts), np.float32)) == 0
        assert [text for text, kept in zip(texts, allowed, strict=True) if kept] == free
        token = random.choice([number for number, kept in enumerate(allowed) if kept])
        rule.consume(token)
        said += texts[token]


@pytest.mark.parametrize("seed", range(6))
def test_answers_never_hold_a_banned_word(tiny_engine: Engine, seed: int) -> None:
    free = tiny_engine.generate(ask((), seed=seed)).text
    words = [free[at : at + 2] for at in range(0, len(free) - 2, 3) if "\ufffd" not in free[at : at + 2]][:40]
    assert words
    told = tiny_engine.generate(ask(words, seed=seed)).text
    assert not [word for word in words if word in told]
    assert told != free


def test_bans_on_what_is_never_said_change_no_bit(tiny_engine: Engine) -> None:
    free = tiny_engine.generate(ask((), seed=3, logprobs=2))
    told = tiny_engine.generate(ask(("a word of many letters",), seed=3, logprobs=2))
    assert (told.tokens, told.logprobs) == (free.tokens, free.logprobs)


def test_a_word_may_begin_and_stop_halfway(scripted: Callable[..., Engine]) -> None:
    told = scripted("the category").generate(ask(("cats", "the cart"), temperature=0.0))
    assert told.text == "the category"


def test_speculation_does_not_let_a_word_through(make_engine: Callable[..., Engine]) -> None:
    text = "the cat sat on the mat and the cat sat on the hat and " * 4
    request = Request((Message("user", text),), Sampling(max_tokens=80, temperature=0.6, bad_words=("a", "th", "o")))
    plain, fast = (make_engine(speculate=speculate).generate(request) for speculate in (False, True))
    assert fast.tokens == plain.tokens
    assert not [word for word in request.sampling.bad_words if word in fast.text]


def test_a_form_that_demands_a_banned_word_fails_and_lets_others_in(tiny_engine: Engine) -> None:
    form = Constraint("choice", '["yes", "yesterday"]')
    with pytest.raises(RequestError, match="every token that may come next completes a banned word"):
        tiny_engine.generate(ask(("yes",), form))
    assert tiny_engine.generate(ask(("no", "yest"), form)).text == "yes"
    assert tiny_engine.blocks.available == tiny_engine.blocks.count


def test_a_receipt_brings_the_bans_back(tiny_engine: Engine) -> None:
    first = tiny_engine.generate(ask(("a", "e", "i"), seed=5))
    assert first.receipt.sampling.bad_words == ("a", "e", "i")
    assert tiny_engine.replay(first.receipt, (Message("user", "Hello"),)).tokens == first.tokens
