"""Which runner of ours computes a network here, said aloud where it is not the fastest (all engines: engines.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from genwerk.core.errors import ModelError
from genwerk.core.progress import say
from genwerk.inference.native.cache_formats import CACHES, cache_format
from genwerk.inference.native.decoder import NativeDecoder, check_adapter
from genwerk.inference.native.library import NativeUnavailableError, load_library, usable_variants
from genwerk.inference.native.pack import Arrangement
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
    cache_precision: str = "auto",
) -> Runner:
    """Read a model directory, and adapters by name; see `make_runner`. Integer weights are kept packed on disk.

    window, sinks, longest   see streaming.py

    A quantised directory runs in the precision it holds; ModelError where another one or an adapter is asked for.
    """
    config, names = read_config(path), tuple(adapters or ())
    precision = _held(path, precision, names) or precision
    native = _runs_native(config, engine, precision, cache_precision)
    blocks = _blocks(config, positions, precision, cache_precision)
    config = with_window(config, window, sinks, longest)
    if packed_precision(path) is not None:
        weights = replace(read_packed(path), config=config)
        if native:
            return NativeDecoder(weights, blocks=blocks, cache=cache_precision)
        return _torch_runner(unpack_decoder(weights), precision, blocks, (), cache_precision)
    empty = native and precision != "float32"
    model = _read(path, config, adapters or {}, empty=empty)
    if not (native and _can(engine, _check_adapters, model, names)):
        model = _read(path, config, adapters or {}, empty=False) if empty else model
        return _torch_runner(model, precision, blocks, names, cache_precision)
    weights = pack_decoder(model, precision) if precision == "float32" else kept_weights(path, config, precision)
    return NativeDecoder(weights, blocks=blocks, adapters=names, model=model, cache=cache_precision)


def _read(path: Path, config: DecoderConfig, adapters: Mapping[str, Path], *, empty: bool) -> Decoder:
    """A model with its adapters, or one whose own weights nobody will read."""
    model = empty_decoder(config) if empty else load_decoder(path)
    model.config = config
    for name, adapter_path in adapters.items():
        load_adapter(model, name, adapter_path)
    return model


def _held(path: Path, precision: str, adapters: Sequence[str]) -> str | None:
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


def make_runner(
    model: Decoder,
    *,
    engine: str = "auto",
    precision: str = "float32",
    positions: int | None = None,
    adapters: Sequence[str] = (),
    cache_precision: str = "auto",
) -> Runner:
    """A runner of `model`, which it owns from then on, with those of its adapters that are named.

    engine            native, torch, or auto: native where its kernels can be built and know the network
    precision         float32, int8 or int4; PyTorch runs every model in the precision it has
    positions         room for keys and values, in tokens of all sequences together; default: two whole contexts
    cache_precision   of keys and values (native/cache_formats.py): auto, or int8, which only the native kernels have;
                      without `positions` it takes the memory that auto would

    Raises ModelError for an unknown engine or precision, and for what cannot be: `native`, or int8 without it.
    """
    native = model.device.type == "cpu" and _runs_native(model.config, engine, precision, cache_precision)
    blocks = _blocks(model.config, positions, precision, cache_precision)
    if native and _can(engine, _check_adapters, model, adapters):
        weights = pack_decoder(model, precision)
        return NativeDecoder(weights, blocks=blocks, adapters=adapters, model=model, cache=cache_precision)
    return _torch_runner(model, precision, blocks, adapters, cache_precision)


def _torch_runner(model: Decoder, precision: str, blocks: int, adapters: Sequence[str], cache_precision: str) -> Runner:
    _check_torch_cache(cache_precision)
    runner = TorchRunner(model, blocks=blocks, adapters=adapters)
    if precision != "float32":
        say(f"PyTorch runs the model in {runner.precision}, not in {precision}", style="yellow")
    return runner


def _check_torch_cache(cache_precision: str) -> None:
    if cache_precision != "auto":
        raise ModelError(
            f"PyTorch's runner cannot keep keys and values in {cache_precision}",
            remedy="Leave out `cache_precision`, or serve with `engine: native` where its kernels can be built.",
        )


def _runs_native(config: DecoderConfig, engine: str, precision: str, cache_precision: str) -> bool:
    asked = (("engine", RUNNERS, engine), ("precision", PRECISIONS, precision), ("cache", CACHES, cache_precision))
    for what, known, value in asked:
        if value not in known:
            raise ModelError(f"there is no {what} `{value}`", remedy=f"Known: {', '.join(known)}.")
    native = engine != "torch" and _can(engine, _check_network, config)
    if not native:
        _check_torch_cache(cache_precision)  # before anything is read
    return native


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


def _blocks(config: DecoderConfig, positions: int | None, precision: str, cache_precision: str) -> int:
    """How many blocks the cache has; by default as many as fit into the memory that two whole contexts take in auto."""
    blocks = -(-(positions or 2 * config.max_positions) // BLOCK)
    if cache_precision == "auto":
        return blocks
    head = Arrangement(config).head
    wide, narrow = (cache_format(one, precision, usable_variants()[0], head) for one in ("auto", cache_precision))
    if positions is None:
        blocks = blocks * wide.size // narrow.size
    size = 2 * narrow.size * config.n_layers * config.n_kv_heads * blocks
    say(
        f"keys and values are kept in {narrow.name}, as asked: {blocks * BLOCK:,} positions in {size / 1e6:,.0f} MB, "
        f"which hold {size // (2 * wide.size * config.n_layers * config.n_kv_heads) * BLOCK:,} in {wide.name}"
    )
    return blocks
