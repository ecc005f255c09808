"""Vectors of a decoder are its pooled states, whoever else asks, and are refused where there are none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from genwerk.core.errors import RequestError
from genwerk.inference.backend import make_runner
from genwerk.inference.decoder_embedding import DecoderEmbedder, StatesRunner
from genwerk.inference.engine import Engine
from genwerk.models.decoder import Decoder
from genwerk.tokenizers.tokenizer import Tokenizer

TEXTS = ["bread", "a longer text about water", "ä", "bread"]


def test_vectors_are_mean_states(tiny_model: Decoder, byte_tokenizer: Tokenizer) -> None:
    engine = Engine(make_runner(tiny_model, engine="torch", positions=512), byte_tokenizer, name="tiny")
    embedder = DecoderEmbedder(engine)
    found = embedder.embed(TEXTS)
    assert found.shape == (4, 32) and found.dtype == np.float32
    for text, vector in zip(TEXTS, found, strict=True):
        with torch.inference_mode():
            states = tiny_model.hidden(torch.tensor([byte_tokenizer.encode(text)]))[0]
        assert np.array_equal(vector, torch.nn.functional.normalize(states.mean(0), dim=-1).numpy())
        assert embedder.embed([text])[0].tobytes() == vector.tobytes()
    assert embedder.count_tokens(["bread"]) == [5]
    assert embedder.embed([]).shape == (0, 32)


def test_a_text_beyond_the_context_is_refused(tiny_model: Decoder, byte_tokenizer: Tokenizer) -> None:
    engine = Engine(make_runner(tiny_model, engine="torch", positions=64), byte_tokenizer, name="tiny")
    with pytest.raises(RequestError, match="65 tokens, the model's context is 64"):
        DecoderEmbedder(engine).embed(["x" * 65])


def test_a_runner_without_states_is_refused_with_what_to_do(tiny_model: Decoder, byte_tokenizer: Tokenizer) -> None:
    engine = Engine(make_runner(tiny_model, engine="native", positions=64), byte_tokenizer, name="tiny")
    with pytest.raises(RequestError, match="engine: torch"):
        DecoderEmbedder(engine)


def test_a_text_is_computed_on_as_many_cores_in_any_company(tiny_model: Decoder, byte_tokenizer: Tokenizer) -> None:
    engine = Engine(make_runner(tiny_model, engine="torch", positions=512), byte_tokenizer, name="tiny", max_rows=512)
    assert isinstance(engine.runner, StatesRunner)
    cores, states = list[int](), engine.runner.states

    def watched(tokens: Sequence[int]) -> Tensor:
        cores.append(torch.get_num_threads())
        return states(tokens)

    engine.runner.states = watched  # type: ignore[method-assign]
    embedder = DecoderEmbedder(engine)
    texts = [
        "short",
        "a text of thirty characters …",
        "a text that is longer than forty-eight tokens by itself, and so",
        "ä",
    ]
    torch.set_num_threads(2)
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert together.tobytes() == alone.tobytes()
    assert cores == [2] * 2 * len(texts)
