"""Whether the native kernels run a network here, said aloud where they do not, and how much cache there is."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TypeVar

from genwerk.core.errors import ModelError
from genwerk.core.progress import say
from genwerk.inference.native.cache_formats import CACHES, cache_format
from genwerk.inference.native.layout import head_size
from genwerk.inference.native.library import NativeUnavailableError, load_library, usable_variants
from genwerk.inference.native.weights import check_shape
from genwerk.inference.runner import BLOCK
from genwerk.models.decoder_config import DecoderConfig

__all__ = ["PRECISIONS", "RUNNERS", "check_torch_cache", "count_blocks", "runs_native", "say_cache", "tried"]

T = TypeVar("T")

RUNNERS = ("auto", "native", "torch")
PRECISIONS = ("float32", "int8", "int4")


def runs_native(config: DecoderConfig, engine: str, precision: str, cache_precision: str) -> bool:
    """Whether the kernels can be built here and know the network. Raises ModelError for what is not known or cannot be:
    `native`, or a cache in bytes without it."""
    known_values = {"engine": RUNNERS, "precision": PRECISIONS, "cache precision": CACHES}
    for (what, known), value in zip(known_values.items(), (engine, precision, cache_precision), strict=True):
        if value not in known:
            raise ModelError(f"there is no {what} `{value}`", remedy=f"Known: {', '.join(known)}.")
    native = engine != "torch" and tried(engine, _library, config) is not None
    if not native:
        check_torch_cache(cache_precision)  # before anything is read
    return native


def tried(engine: str, make: Callable[..., T], *arguments: object) -> T | None:
    """What `make` gives, or None where the kernels cannot do it: that is said, or raised for `native`."""
    try:
        return make(*arguments)
    except NativeUnavailableError as error:
        if engine == "native":
            raise
        say(f"PyTorch runs this model, more slowly: {error}", style="yellow")
        return None


def check_torch_cache(cache_precision: str) -> None:
    """Raise ModelError where PyTorch's runner cannot keep keys and values so."""
    if cache_precision != "auto":
        raise ModelError(
            f"PyTorch's runner cannot keep keys and values in {cache_precision}",
            remedy="Leave out `cache_precision`, or serve with `engine: native` where its kernels can be built.",
        )


def count_blocks(config: DecoderConfig, positions: int | None, precision: str, cache_precision: str) -> int:
    """How many blocks the cache has; by default as many as fit into the memory that two whole contexts take in auto."""
    blocks = -(-(positions or 2 * config.max_positions) // BLOCK)
    if cache_precision == "auto" or positions is not None:
        return blocks
    return blocks * _bytes(config, precision, "auto") // _bytes(config, precision, cache_precision)


def say_cache(config: DecoderConfig, blocks: int, precision: str, cache_precision: str) -> None:
    """Say what a cache that was asked for takes, and what it would hold otherwise."""
    size, wide = _bytes(config, precision, cache_precision) * blocks, _bytes(config, precision, "auto")
    held, usual = blocks * BLOCK, size // wide * BLOCK
    say(
        f"keys and values are kept in {cache_precision}, as asked: {held:,} positions in {size / 1e6:,.0f} MB, "
        f"which hold {usual:,} by default"
    )


def _bytes(config: DecoderConfig, precision: str, cache_precision: str) -> int:
    """Of the keys and values in a block."""
    kept = cache_format(cache_precision, precision, usable_variants()[0], head_size(config))
    return 2 * kept.size * config.n_layers * config.n_kv_heads


def _library(config: DecoderConfig) -> ctypes.CDLL:
    check_shape(config)
    return load_library(usable_variants()[0])
