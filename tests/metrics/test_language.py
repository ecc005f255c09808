"""Bits per byte and perplexity: cases known on paper."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.metrics.language import bits_per_byte, perplexity


def test_a_uniform_guess_over_bytes_costs_eight_bits() -> None:
    assert bits_per_byte(100 * math.log(256), 100) == pytest.approx(8.0)


@given(st.integers(2, 100_000), st.integers(1, 1000))
def test_a_uniform_guess_over_v_tokens_has_perplexity_v(vocab: int, tokens: int) -> None:
    assert perplexity(tokens * math.log(vocab), tokens) == pytest.approx(vocab)


def test_certainty_costs_nothing() -> None:
    assert bits_per_byte(0.0, 5) == 0.0
    assert perplexity(0.0, 5) == 1.0


def test_a_hopeless_model_has_infinite_perplexity_instead_of_an_overflow() -> None:
    assert perplexity(1e6, 1) == math.inf


@pytest.mark.parametrize("measure", [bits_per_byte, perplexity])
def test_an_average_over_nothing_is_refused(measure: object) -> None:
    with pytest.raises(ValueError, match="at least one"):
        measure(1.0, 0)  # type: ignore[operator]
