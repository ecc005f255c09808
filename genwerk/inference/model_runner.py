"""A runner of a network that PyTorch holds: packed for the native kernels, or run as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from genwerk.core.progress import say
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.packed_adapter import pack_adapter
from genwerk.inference.native.packed_decoder import pack_decoder, unpack_decoder
from genwerk.inference.native.packed_directory import packed_precision, read_packed
from genwerk.inference.runner import Runner
from genwerk.inference.runner_choice import check_torch_cache, count_blocks, runs_native, tried
from genwerk.inference.torch_runner import TorchRunner
from genwerk.models.arrays import Array
from genwerk.models.decoder import Decoder
from genwerk.models.decoder_config import DecoderConfig
from genwerk.models.huggingface import load_decoder
from genwerk.models.lora import load_adapter

__all__ = ["make_runner", "read_model", "run_model"]


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
    here = engine if model.device.type == "cpu" else "torch"
    native = runs_native(model.config, here, precision, cache_precision)
    blocks = count_blocks(model.config, positions, precision, cache_precision)
    return run_model(model, here if native else "torch", precision, blocks, adapters, cache_precision)


def run_model(
    model: Decoder, engine: str, precision: str, blocks: int, adapters: Sequence[str], cache_precision: str
) -> Runner:
    """As `make_runner`, with the engine chosen (`auto`: native where it knows the adapters) and the blocks counted."""
    packed = None if engine == "torch" else tried(engine, _pack_adapters, model, adapters)
    if packed is not None:
        weights = pack_decoder(model, precision)
        return NativeDecoder(weights, blocks=blocks, adapters=packed, cache_precision=cache_precision)
    check_torch_cache(cache_precision)
    runner = TorchRunner(model, blocks=blocks, adapters=adapters)
    if precision != "float32":
        say(f"PyTorch runs the model in {runner.precision}, not in {precision}", style="yellow")
    return runner


def read_model(path: Path, config: DecoderConfig, adapters: Mapping[str, Path]) -> Decoder:
    """A model, float or quantised, with its adapters. `config` may say what is seen of a text (streaming.py)."""
    model = load_decoder(path) if packed_precision(path) is None else unpack_decoder(read_packed(path))
    model.config = config
    for name, place in adapters.items():
        load_adapter(model, name, place)
    return model


def _pack_adapters(model: Decoder, names: Sequence[str]) -> dict[str, Mapping[str, Array]]:
    return {name: pack_adapter(model, name) for name in names}
