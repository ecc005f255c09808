"""Which runner of ours computes a network here, said aloud where it is not the fastest (all engines: engines.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from genwerk.core.errors import ModelError
from genwerk.core.progress import say
from genwerk.inference.native.decoder import NativeDecoder, check_adapter
from genwerk.inference.native.library import NativeUnavailableError, load_library, usable_variants
from genwerk.inference.native.packed_directory import packed_precision, read_packed, unpack_decoder
from genwerk.inference.native.weights import check_shape, kept_weights, pack_decoder
from genwerk.inference.runner import BLOCK, Runner
from genwerk.inference.streaming import with_window
from genwerk.inference.torch_runner import TorchRunner
from genwerk.models.decoder import Decoder
from genwerk.models.decoder_config import DecoderConfig
from genwerk.models.huggingface import empty_decoder, load_decoder, read_config
from genwerk.models.lora import load_adapter

__all__ = ["PRECISIONS", "RUNNERS", "load_runner", "make_runner"]

RUNNERS = ("auto", "native", "torch")
PRECISIONS = ("float32", "int8", "int4")


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
) -> Runner:
    """Read a model directory, and adapters by name; see `make_runner`. Integer weights are kept packed on disk.

    window, sinks, longest   see streaming.py

    A quantised directory runs in the precision it holds; ModelError where another one or an adapter is asked for.
    """
    config, names = read_config(path), tuple(adapters or ())
    positions = positions or 2 * config.max_positions
    config = with_window(config, window, sinks, longest)
    if (held := packed_precision(path)) is not None:
        return _load_packed(path, config, held, engine=engine, precision=precision, positions=positions, adapters=names)
    native = _runs_native(config, engine, precision)
    empty = native and precision != "float32"
    model = _read(path, config, adapters or {}, empty=empty)
    if not (native and _can(engine, _check_adapters, model, names)):
        model = _read(path, config, adapters or {}, empty=False) if empty else model
        return _torch_runner(model, precision, positions, names)
    weights = pack_decoder(model, precision) if precision == "float32" else kept_weights(path, config, precision)
    return NativeDecoder(weights, blocks=_blocks(config, positions), adapters=names, model=model)


def _read(path: Path, config: DecoderConfig, adapters: Mapping[str, Path], *, empty: bool) -> Decoder:
    """A model with its adapters, or one whose own weights nobody will read."""
    model = empty_decoder(config) if empty else load_decoder(path)
    model.config = config
    for name, adapter_path in adapters.items():
        load_adapter(model, name, adapter_path)
    return model


def _load_packed(
    path: Path,
    config: DecoderConfig,
    held: str,
    *,
    engine: str,
    precision: str,
    positions: int,
    adapters: Sequence[str],
) -> Runner:
    if adapters:
        remedy = "Quantise it with the adapter merged into it: `genwerk quantise --adapter`."
        raise ModelError("a quantised model takes no adapters", where=str(path), remedy=remedy)
    if precision != held:
        if precision != "float32":
            raise ModelError(f"the model is quantised to {held}, not to {precision}", where=str(path))
        say(f"the model is quantised to {held}, and runs so")
    weights = replace(read_packed(path), config=config)
    if _runs_native(weights.config, engine, held):
        return NativeDecoder(weights, blocks=_blocks(weights.config, positions))
    return _torch_runner(unpack_decoder(weights), held, positions, ())


def make_runner(
    model: Decoder,
    *,
    engine: str = "auto",
    precision: str = "float32",
    positions: int | None = None,
    adapters: Sequence[str] = (),
) -> Runner:
    """A runner of `model`, which it owns from then on, with those of its adapters that are named.

    engine      native, torch, or auto: native where its kernels can be built and know the network
    precision   float32, int8 or int4; PyTorch runs every model in the precision it has
    positions   room for keys and values, in tokens of all sequences together; default: two whole contexts

    Raises ModelError for an unknown engine or precision, and for `native` where that cannot be.
    """
    native = model.device.type == "cpu" and _runs_native(model.config, engine, precision)
    if native and _can(engine, _check_adapters, model, adapters):
        weights, blocks = pack_decoder(model, precision), _blocks(model.config, positions)
        return NativeDecoder(weights, blocks=blocks, adapters=adapters, model=model)
    return _torch_runner(model, precision, positions, adapters)


def _torch_runner(model: Decoder, precision: str, positions: int | None, adapters: Sequence[str]) -> Runner:
    runner = TorchRunner(model, blocks=_blocks(model.config, positions), adapters=adapters)
    if precision != "float32":
        say(f"PyTorch runs the model in {runner.precision}, not in {precision}", style="yellow")
    return runner


def _runs_native(config: DecoderConfig, engine: str, precision: str) -> bool:
    for what, known, value in (("engine", RUNNERS, engine), ("precision", PRECISIONS, precision)):
        if value not in known:
            raise ModelError(f"there is no {what} `{value}`", remedy=f"Known: {', '.join(known)}.")
    return engine != "torch" and _can(engine, _check_network, config)


def _can(engine: str, check: Callable[..., None], *arguments: object) -> bool:
    """Whether the kernels pass `check`; where they do not, that is said, or raised for `native`."""
    try:
        check(*arguments)
    except NativeUnavailableError as error:
        if engine == "native":
            raise
        say(f"PyTorch runs this model, more slowly: {error}", style="yellow")
        return False
    return True


def _check_network(config: DecoderConfig) -> None:
    check_shape(config)
    load_library(usable_variants()[0])


def _check_adapters(model: Decoder, adapters: Sequence[str]) -> None:
    for name in adapters:
        check_adapter(model, name)


def _blocks(config: DecoderConfig, positions: int | None) -> int:
    return -(-(positions or 2 * config.max_positions) // BLOCK)
