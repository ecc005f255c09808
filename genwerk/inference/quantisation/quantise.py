"""The step that makes a model small for serving: merge its adapter, smooth, round with GPTQ, measure what it cost.

    artifact = workspace.step(quantise, QuantiseConfig(precision="int4"), model, dataset, adapter)

The artifact is a directory that `Engine.load` serves as it is (native/packed_directory.py), with

    report.json      what float32, plain rounding and the calibrated form lose on held-out text; errors per matrix
    documents.json   which documents were calibrated on, and which were only measured on

It is deterministic and refused beyond its bounds (loss.py); after a kill it goes on behind the last finished layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genwerk.core.artifact import Artifact, Source
from genwerk.core.atomic import write_json
from genwerk.core.errors import ModelError
from genwerk.core.progress import say
from genwerk.core.types import Document
from genwerk.core.workspace import Step
from genwerk.data.documents import load_documents
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.library import NativeUnavailableError
from genwerk.inference.native.pack import Arrangement, Grid, turn, widest_grid
from genwerk.inference.native.packed_decoder import matrices, pack_decoder, unpack_decoder
from genwerk.inference.native.packed_directory import write_packed
from genwerk.inference.native.weights import PackedWeights, check_shape
from genwerk.inference.quantisation.calibration import calibrate_layers, input_peaks
from genwerk.inference.quantisation.config import QuantiseConfig
from genwerk.inference.quantisation.gptq import Rounded, gptq, round_nearest
from genwerk.inference.quantisation.grids import fitted_grid, nearest
from genwerk.inference.quantisation.loss import Loss, check_bounds, measure_losses, print_losses
from genwerk.inference.quantisation.smoothing import smooth
from genwerk.inference.quantisation.texts import Windows, document_windows
from genwerk.inference.runner import BLOCK, Chunk
from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import load_decoder
from genwerk.models.linear import Linear
from genwerk.models.lora import load_adapter, merge_adapter
from genwerk.models.weights import read_tensors, write_tensors
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["Calibrated", "calibrate", "quantise"]

_MERGED = "merged"
Row = Mapping[str, Any]


def quantise(
    config: QuantiseConfig,
    step: Step,
    model: Artifact | Source,
    dataset: Artifact | Source,
    adapter: Artifact | Source | None = None,
) -> Mapping[str, float | int | str]:
    """Write a packed model directory; returns what it loses.

    Raises ModelError beyond the bounds and for a network that the kernels do not know, DataError without text.
    """
    tokenizer, documents = Tokenizer.load(model.path), load_documents(dataset.path)
    decoder = _load(model, adapter)
    check_shape(decoder.config)
    if decoder.config.n_experts:
        remedy = "Serve it in int8 or int4 as it is, rounded to nearest: `serve: {precision: int8}`."
        raise ModelError("mixtures of experts are not calibrated", where=str(model.path), remedy=remedy)
    learnt = _windows(config, decoder, documents, tokenizer, held_out=False)
    checked = _windows(config, decoder, documents, tokenizer, held_out=True)
    found = calibrate(decoder, learnt.tokens, config, scratch=step.scratch)
    packed = pack_decoder(decoder, config.precision, found.grids)
    decoder = _load(model, adapter)  # as it was before
    forms = {
        f"{config.precision} to nearest": _logits(pack_decoder(decoder, config.precision)),
        f"{config.precision} calibrated": _logits(packed),
    }
    exact, before, after = measure_losses(_exact(decoder), forms, checked.tokens, tokenizer)
    print_losses((exact, before, after), f"on {len(checked.tokens)} held-out windows; KL in nats per token")
    check_bounds(exact, before, after, config.bounds)
    write_packed(packed, step.out, model.path)
    write_json(
        step.out / "report.json",
        {"losses": [item.to_json() for item in (exact, before, after)], "matrices": found.rows},
    )
    write_json(
        step.out / "documents.json",
        {"calibrated_on": _seen(documents, learnt), "measured_on": _seen(documents, checked)},
    )
    return {"precision": config.precision, **_metrics(exact, before, after), "windows": len(learnt.tokens)}


@dataclass(frozen=True)
class Calibrated:
    """What calibration chose: grids by name of the matrix, as `3.qkv`, and for each matrix the share of its outputs'
    energy that is lost when it is rounded to nearest and when it is rounded as chosen."""

    grids: Mapping[str, Grid]
    rows: Sequence[Row]


@torch.no_grad()
def calibrate(
    model: Decoder, windows: Sequence[Sequence[int]], config: QuantiseConfig, *, scratch: Path | None = None
) -> Calibrated:
    """Smooth and round the weights of `model` in place, for `windows` of one length.

    Where the nearest values lose less than the chosen ones, those are kept. In int8 such a matrix stays unrounded until
    it is packed if its inputs are no multiple of 64: turned back it would not be rounded to the same values again.

    scratch  keeps finished layers, so that the same call goes on after a kill and ends in the same weights.
    """
    if config.smooth is not None:
        smooth(model, _peaks(model, windows, scratch), config.smooth)
    arrange = Arrangement(model.config)
    found = [matrices(block) for block in model.layers]
    grids: dict[str, Grid] = {}
    rows: list[Row] = []
    turned = turn if config.precision == "int8" else _as_it_is  # as the kernels round it (pack.py)

    def turned_back(name: str, linear: Linear, rounded: Rounded) -> tuple[Tensor, Tensor]:
        """The matrix of the network, and what it is rounded to when it is packed: filled-up inputs are lost."""
        values = arrange.restore(name, turned(rounded.weight), (linear.d_out, linear.d_in))
        return values, nearest(turned(arrange.matrix(name, values)), rounded.grid)

    def change(layer: int, grams: dict[str, Tensor]) -> None:
        for name, linear in found[layer].items():
            weight, gram = turned(arrange.matrix(name, linear.weight)), turned(turned(grams[name]).t()).t().contiguous()
            plain = round_nearest(weight, widest_grid(weight, config.precision))
            if config.gptq:
                chosen = gptq(weight, gram, config.precision, damping=config.damping, act_order=config.act_order)
            else:
                chosen = round_nearest(weight, fitted_grid(weight, gram.diagonal(), config.precision))
            values, served = turned_back(name, linear, chosen)
            lost = {"nearest": _lost(weight, plain.weight, gram), "calibrated": _lost(weight, served, gram)}
            if lost["calibrated"] > lost["nearest"]:
                chosen, lost["calibrated"] = plain, lost["nearest"]
                values, served = turned_back(name, linear, plain)
            grids[f"{layer}.{name}"] = chosen.grid
            if chosen is not plain or torch.equal(served, plain.weight):
                linear.weight.copy_(values)
            rows.append({"layer": layer, "matrix": name, **lost})
        if scratch is not None:
            _keep_layer(scratch / f"layer-{layer}.safetensors", layer, found[layer], grids, rows)

    def recall(layer: int) -> bool:
        file = None if scratch is None else scratch / f"layer-{layer}.safetensors"
        return file is not None and _recall_layer(file, layer, found[layer], grids, rows)

    calibrate_layers(model, windows, change, what=f"rounding to {config.precision}", recall=recall)
    return Calibrated(grids, rows)


def _as_it_is(rows: Tensor) -> Tensor:
    return rows


def _peaks(model: Decoder, windows: Sequence[Sequence[int]], scratch: Path | None) -> dict[str, Tensor]:
    file = None if scratch is None else scratch / "peaks.safetensors"
    if file is not None and file.exists():
        return read_tensors(file)
    peaks = input_peaks(model, windows)
    if file is not None:
        write_tensors(file, peaks)
    return peaks


def _keep_layer(
    file: Path, layer: int, found: Mapping[str, Linear], grids: Mapping[str, Grid], rows: Sequence[Row]
) -> None:
    tensors: dict[str, Tensor] = {}
    for (name, linear), row in zip(found.items(), rows[-len(found) :], strict=True):
        grid = grids[f"{layer}.{name}"]
        tensors |= {f"{name}.weight": linear.weight.detach(), f"{name}.scale": grid.scale}
        tensors |= {} if grid.lowest is None else {f"{name}.lowest": grid.lowest}
        tensors[f"{name}.errors"] = torch.tensor([row["nearest"], row["calibrated"]], dtype=torch.float64)
    write_tensors(file, tensors)


def _recall_layer(file: Path, layer: int, found: Mapping[str, Linear], grids: dict[str, Grid], rows: list[Row]) -> bool:
    if not file.exists():
        return False
    held = read_tensors(file)
    for name, linear in found.items():
        linear.weight.copy_(held[f"{name}.weight"])
        grids[f"{layer}.{name}"] = Grid(held[f"{name}.scale"], held.get(f"{name}.lowest"))
        nearest, calibrated = held[f"{name}.errors"].tolist()
        rows.append({"layer": layer, "matrix": name, "nearest": nearest, "calibrated": calibrated})
    return True


def _lost(weight: Tensor, rounded: Tensor, gram: Tensor) -> float:
    """||(W - Q) X||² / ||W X||²."""
    error = weight - rounded
    whole = ((weight @ gram) * weight).sum()
    return float(((error @ gram) * error).sum() / whole) if whole > 0 else 0.0


def _load(model: Artifact | Source, adapter: Artifact | Source | None) -> Decoder:
    decoder = load_decoder(model.path)
    if adapter is not None:
        load_adapter(decoder, _MERGED, adapter.path)
        merge_adapter(decoder, _MERGED)
    return decoder.requires_grad_(False)


def _windows(
    config: QuantiseConfig, model: Decoder, documents: Sequence[Document], tokenizer: Tokenizer, *, held_out: bool
) -> Windows:
    split, count, length = "train", config.windows, config.length
    if held_out:
        split, count, length = "heldout", config.check_windows, config.check_length
    length = min(length, model.config.max_positions)
    found = document_windows(documents, tokenizer, split=split, count=count, length=length, seed=config.seed)
    if len(found.tokens) < count:
        say(f"the {split} documents fill only {len(found.tokens)} of {count} windows", style="yellow")
    return found


def _exact(model: Decoder) -> Callable[[Sequence[int]], Tensor]:
    return lambda tokens: model(torch.tensor([list(tokens)]))[0]


def _logits(weights: PackedWeights) -> Callable[[Sequence[int]], Tensor]:
    """As it will be served: by the kernels, where they can be built."""
    blocks = -(-weights.config.max_positions // BLOCK)
    try:
        runner = NativeDecoder(weights, blocks=blocks)
    except NativeUnavailableError as error:
        say(f"measured with PyTorch, whose activations are not rounded: {error}", style="yellow")
        return _exact(unpack_decoder(weights))
    return lambda tokens: torch.from_numpy(runner.step([Chunk(tokens, 0, range(blocks), wanted=len(tokens))]))


def _seen(documents: Sequence[Document], windows: Windows) -> list[dict[str, str]]:
    used = [item for item in documents if item.id in windows.documents]
    return [{"id": item.id, "sha256": item.sha256} for item in sorted(used, key=lambda item: item.id)]


def _metrics(exact: Loss, before: Loss, after: Loss) -> dict[str, float]:
    found = {"perplexity_float32": exact.perplexity, "bits_per_byte_float32": exact.bits_per_byte}
    for word, item in (("nearest", before), ("calibrated", after)):
        found |= {f"kl_{word}": item.kl, f"perplexity_{word}": item.perplexity}
        found[f"bits_per_byte_{word}"] = item.bits_per_byte
    return found
