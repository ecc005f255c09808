"""Moments are those of the inputs, and a layer is calibrated on what the rounded layers before it say."""

from __future__ import annotations

import pytest
import torch
from small_models import BASE, SHAPES, draw, random_tokens
from torch import Tensor

from genwerk.core.types import Document
from genwerk.inference.native.pack import Arrangement
from genwerk.inference.native.packed_decoder import matrices
from genwerk.inference.native.weights import MATRICES
from genwerk.inference.quantisation import calibration
from genwerk.inference.quantisation.calibration import calibrate_layers
from genwerk.models.decoder import Decoder, DecoderConfig


def inputs_of(model: Decoder, windows: list[list[int]]) -> dict[str, Tensor]:
    """Every matrix's inputs (T, K), kept whole."""
    found: dict[str, Tensor] = {}
    handles = [
        linear.register_forward_pre_hook(
            lambda module, args, name=f"{layer}.{name}": found.update({name: args[0].flatten(0, 1).detach()})
        )
        for layer, block in enumerate(model.layers)
        for name, linear in matrices(block).items()
    ]
    with torch.no_grad():
        model(torch.tensor(windows))
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("shape", ["llama", "everything", "narrow", "wide-window"])
def test_the_streamed_moments_are_those_of_all_inputs_at_once(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_AT_ONCE", 64)  # several passes per layer
    model = draw(DecoderConfig(**BASE | SHAPES[shape]))
    windows = [random_tokens(24, model.config.vocab_size, seed) for seed in range(7)]
    whole, seen = inputs_of(model, windows), []

    def change(layer: int, grams: dict[str, Tensor]) -> None:
        for name, gram in grams.items():
            x = Arrangement(model.config).matrix(name, _weights(model, layer)[name])  # as wide as it is packed
            inputs = whole[f"{layer}.{name}"]
            assert gram.shape == (x.shape[1], x.shape[1])
            assert gram.diagonal().sum() == pytest.approx(float(inputs.square().sum()), rel=1e-4)
            if gram.shape[0] == inputs.shape[1]:
                assert torch.allclose(gram, inputs.t() @ inputs, rtol=1e-3, atol=1e-3 * float(gram.abs().max()))
            seen.append((layer, name))

    calibrate_layers(model, windows, change, what="moments")
    assert seen == [(layer, name) for layer in range(model.config.n_layers) for name in MATRICES]


def _weights(model: Decoder, layer: int) -> dict[str, Tensor]:
    return {name: one.weight.detach() for name, one in matrices(model.layers[layer]).items()}


def test_later_layers_are_calibrated_on_what_earlier_ones_became() -> None:
    model = draw(DecoderConfig(**BASE))
    windows = [random_tokens(32, 97, seed) for seed in range(3)]
    grams: dict[int, Tensor] = {}

    def silence(layer: int, found: dict[str, Tensor]) -> None:
        grams[layer] = found["qkv"]
        if layer == 0:
            for linear in matrices(model.layers[0]).values():
                linear.weight.zero_()

    calibrate_layers(model, windows, silence, what="silence")
    x = inputs_of(model, windows)["1.qkv"]  # with the first layer silent
    assert torch.allclose(grams[1][:48, :48], x.t() @ x, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("shape", SHAPES)
def test_arranging_and_restoring_gives_the_same_weights(shape: str) -> None:
    model = draw(DecoderConfig(**BASE | SHAPES[shape]))
    arrange = Arrangement(model.config)
    for name, linear in matrices(model.layers[0]).items():
        weight = linear.weight.detach()
        assert torch.equal(arrange.restore(name, arrange.matrix(name, weight), tuple(weight.shape)), weight)


def document(number: int, split: str) -> Document:
    return Document.create(f"{number}.txt", f"page {number} says " + "so " * 200, metadata={"split": split})


def test_windows_come_from_their_split_alone_and_from_many_documents(byte_tokenizer: object) -> None:
    from genwerk.core.errors import DataError
    from genwerk.inference.quantisation.texts import document_windows
    from genwerk.tokenizers.tokenizer import Tokenizer

    assert isinstance(byte_tokenizer, Tokenizer)
    documents = [document(n, "heldout" if n % 4 == 0 else "train") for n in range(12)]
    found = document_windows(documents, byte_tokenizer, split="train", count=10, length=64, seed=0)
    assert len(found.tokens) == 10 and all(len(window) == 64 for window in found.tokens)
    assert found.documents <= {item.id for item in documents if item.metadata["split"] == "train"}
    assert len(found.documents) > 1
    assert found == document_windows(documents[::-1], byte_tokenizer, split="train", count=10, length=64, seed=0)
    few = document_windows(documents, byte_tokenizer, split="heldout", count=1000, length=64, seed=0)
    assert 1 <= len(few.tokens) < 1000
    with pytest.raises(DataError, match="fewer than one window"):
        document_windows(documents[:1], byte_tokenizer, split="heldout", count=1, length=10_000, seed=0)
