"""Calibration: what the inputs of each weight matrix look like on text, one layer in memory at a time.

    gram = sum over tokens of x x^T      peak_j = max over tokens of |x_j|

x  (K,) the input of a matrix at one token. Inputs are added up as they pass and never kept, so memory holds the hidden
states of the calibration text, (windows, T, d_model), and the moments of one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.core.progress import track
from genwerk.inference.native.pack import Arrangement, fill
from genwerk.inference.native.packed_decoder import matrices
from genwerk.models.decoder import Decoder
from genwerk.models.linear import Linear

__all__ = ["calibrate_layers", "input_peaks"]

_AT_ONCE = 2048  # tokens per pass through a layer
Watch = Callable[[str, Tensor], None]


@torch.no_grad()
def input_peaks(model: Decoder, windows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """The peaks (K,) of every matrix by name, as `3.qkv`, over `windows` of one length."""
    peaks: dict[str, Tensor] = {}

    def watch(name: str, x: Tensor) -> None:
        most = x.abs().amax(0)
        peaks[name] = torch.maximum(peaks[name], most) if name in peaks else most

    layers = range(model.config.n_layers)
    with track("activations", total=len(windows), unit="windows") as bar, _watching(model, layers, watch):
        for batch in _batches(windows):
            model.hidden(batch)
            bar.advance(len(batch))
    return peaks


@torch.no_grad()
def calibrate_layers(
    model: Decoder,
    windows: Sequence[Sequence[int]],
    change: Callable[[int, dict[str, Tensor]], None],
    *,
    what: str,
    recall: Callable[[int], bool] = lambda layer: False,
) -> None:
    """For each layer in turn `change(layer, grams)`, which may change its weights; later layers see what it then says.

    grams   by name of the matrix (see `matrices`), (K', K') with inputs arranged as they are packed.
    recall  changes a layer as an earlier attempt did, and says whether it could; then no moments are needed.
    """
    arrange = Arrangement(model.config)
    states = [F.embedding(batch, model.embed_tokens) for batch in _batches(windows)]
    places = model.positions(0, len(windows[0]))
    with track(what, total=len(model.layers), unit="layers") as bar:
        for layer, (block, at) in enumerate(zip(model.layers, places, strict=True)):
            grams: dict[str, Tensor] = {}

            def watch(name: str, x: Tensor, grams: dict[str, Tensor] = grams) -> None:
                short = name.partition(".")[2]
                rows = fill(arrange.inputs(short, x.t()), 0)  # (K', T)
                grams[short] = grams[short].addmm_(rows, rows.t()) if short in grams else rows @ rows.t()

            if not recall(layer):
                with _watching(model, (layer,), watch):
                    for x in states:
                        block(x, at, None)
                change(layer, grams)
            states = [block(x, at, None) for x in states]
            bar.advance()


@contextmanager
def _watching(model: Decoder, layers: Sequence[int], watch: Watch) -> Iterator[None]:
    """Call `watch(name, inputs (T, K))` whenever a matrix of these layers is used."""
    handles = [
        linear.register_forward_pre_hook(_hook(f"{layer}.{name}", watch))
        for layer in layers
        for name, linear in matrices(model.layers[layer]).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, watch: Watch) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def seen(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, Linear)
        watch(name, inputs[0].flatten(0, -2))

    return seen


def _batches(windows: Sequence[Sequence[int]]) -> list[Tensor]:
    rows = torch.tensor([list(window) for window in windows])
    return list(torch.split(rows, max(1, _AT_ONCE // rows.shape[1])))
