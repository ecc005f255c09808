"""The dial: every depth gives a valid network, and every value is explained."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.errors import ModelError
from genwerk.models.dial import derive
from genwerk.models.hf_config import config_from_hf, config_to_hf


@given(depth=st.integers(1, 64), vocab_size=st.integers(1, 200_000))
def test_every_depth_gives_a_network_that_can_be_saved(depth: int, vocab_size: int) -> None:
    config, reasons = derive(depth, vocab_size)
    assert config.n_heads % config.n_kv_heads == 0
    assert config.n_heads * config.head_dim == config.d_model
    assert config.d_ff % 64 == 0
    assert config_from_hf(config_to_hf(config)) == config
    values = dataclasses.asdict(config)
    for reason in reasons:
        assert reason.why
        assert values[reason.name] == (True if reason.value == "yes" else reason.value)


def test_depth_4_is_the_shape_we_mean() -> None:
    config, _ = derive(4, 4096)
    assert (config.d_model, config.n_heads, config.n_kv_heads, config.d_ff) == (256, 4, 2, 704)


def test_no_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="depth 0"):
        derive(0, 10)
