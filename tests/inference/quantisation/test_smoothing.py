"""Smoothing moves difficulty between activations and weights and changes nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from small_models import BASE, SHAPES, draw, random_tokens

from genwerk.inference.native.packed_decoder import matrices
from genwerk.inference.quantisation.calibration import input_peaks
from genwerk.inference.quantisation.smoothing import smooth, smoothing_scales
from genwerk.models.decoder import DecoderConfig


def test_the_scales_are_those_of_the_paper() -> None:
    peaks, reach = torch.tensor([16.0, 4.0, 0.0, 9.0]), torch.tensor([1.0, 4.0, 1.0, 0.0])
    assert smoothing_scales(peaks, reach, 0.5).tolist() == [4.0, 1.0, 1.0, 1.0]
    assert smoothing_scales(peaks, reach, 1.0).tolist()[:2] == [16.0, 4.0]
    assert smoothing_scales(peaks, reach, 0.0).tolist()[:2] == [1.0, 0.25]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.85])
def test_the_float_function_stays(shape: str, alpha: float) -> None:
    """In float64, where what is left is rounding of the last bits."""
    model = draw(DecoderConfig(**BASE | SHAPES[shape])).double()
    windows = [random_tokens(40, model.config.vocab_size, seed) for seed in range(3)]
    changed = copy.deepcopy(model)
    smooth(changed, input_peaks(changed, windows), alpha)
    tokens = torch.tensor(windows)
    with torch.no_grad():
        assert torch.allclose(changed(tokens), model(tokens), rtol=1e-5, atol=1e-5)
    assert not torch.equal(changed.layers[0].self_attn.qkv.weight, model.layers[0].self_attn.qkv.weight)


def test_half_makes_activations_and_weights_alike() -> None:
    """At α = 1/2 each input's largest magnitude becomes that of its weights."""
    model = draw(DecoderConfig(**BASE))
    windows = [random_tokens(48, 97, seed) for seed in range(4)]
    smooth(model, input_peaks(model, windows), 0.5)
    after = input_peaks(model, windows)
    for layer, block in enumerate(model.layers):
        for name, linear in matrices(block).items():
            reach = linear.weight.detach().abs().amax(0)
            peaks = after[f"{layer}.{name}"]
            if name == "out":  # query heads that share a key head share their scales
                peaks, reach = (one.view(2, 3, 8).amax(1) for one in (peaks, reach))
            assert torch.allclose(peaks, reach, rtol=1e-3)
