"""Which runner of ours computes a model directory, said aloud where it is not the fastest (all engines: engines.py).

Integer weights without adapters are mapped and run without PyTorch, which takes longer to import than all the rest of
a start; whatever else is asked for imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from genwerk.core.errors import ModelError
from genwerk.core.progress import say
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.packed_directory import packed_precision, read_packed
from genwerk.inference.native.weights import PackedWeights, kept_weights
from genwerk.inference.runner import Runner
from genwerk.inference.runner_choice import count_blocks, runs_native, say_cache, tried
from genwerk.inference.streaming import with_window
from genwerk.models.arrays import Array
from genwerk.models.decoder_config import DecoderConfig
from genwerk.models.hf_config import read_config

__all__ = ["load_runner"]


def load_runner(
    path: Path,
    *,
    engine: str = "auto",
    precision: str = "float32",
    positions: int | None = None,
    adapters: Mapping[str, Path] | None = None,
    window: int | None = None,
    sinks: int = 0,
    longest: int | None = None,
    cache_precision: str = "auto",
) -> Runner:
    """Read a model directory, and adapters by name; see `make_runner`. Integer weights are kept packed on disk.

    window, sinks, longest   see streaming.py

    A quantised directory runs in the precision it holds; ModelError where another one or an adapter is asked for.
    """
    config, adapters = read_config(path), adapters or {}
    held = _held(path, precision, adapters)
    precision = held or precision
    native = runs_native(config, engine, precision, cache_precision)
    blocks = count_blocks(config, positions, precision, cache_precision)
    if cache_precision != "auto":
        say_cache(config, blocks, precision, cache_precision)
    config = with_window(config, window, sinks, longest)
    if native and precision != "float32":
        packed = tried(engine, _read_adapters, config, adapters)
        if packed is not None:
            make = partial(_pack, path, precision)
            weights = read_packed(path) if held else kept_weights(path, config, precision, make)
            return NativeDecoder(
                replace(weights, config=config), blocks=blocks, adapters=packed, cache_precision=cache_precision
            )
        native = False
    from genwerk.inference.model_runner import read_model, run_model  # PyTorch

    model = read_model(path, config, adapters)
    return run_model(model, engine if native else "torch", precision, blocks, tuple(adapters), cache_precision)


def _pack(path: Path, precision: str) -> PackedWeights:
    from genwerk.inference.native.packed_decoder import pack_decoder  # PyTorch
    from genwerk.models.huggingface import load_decoder

    return pack_decoder(load_decoder(path), precision)


def _read_adapters(config: DecoderConfig, adapters: Mapping[str, Path]) -> dict[str, Mapping[str, Array]]:
    if not adapters:
        return {}
    from genwerk.inference.native.packed_adapter import read_adapter  # PyTorch

    return {name: read_adapter(config, name, place) for name, place in adapters.items()}


def _held(path: Path, precision: str, adapters: Mapping[str, Path]) -> str | None:
    """The precision a quantised directory holds. Raises ModelError where another one or an adapter is asked for."""
    held = packed_precision(path)
    if held is not None and adapters:
        remedy = "Quantise it with the adapter merged into it: `genwerk quantise --adapter`."
        raise ModelError("a quantised model takes no adapters", where=str(path), remedy=remedy)
    if held is not None and precision != held:
        if precision != "float32":
            raise ModelError(f"the model is quantised to {held}, not to {precision}", where=str(path))
        say(f"the model is quantised to {held}, and runs so")
    return held
