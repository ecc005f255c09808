"""A decoder whose steps run in the native kernels: many sequences at once, each with a table of cache blocks.

    native = NativeDecoder(read_packed(directory), blocks=256)
    logits = native.step([Chunk(tokens, start=0, table=[3, 7], adapter=None)])

A row's numbers depend on its own sequence alone: not on the batch, not on how its prompt was cut, not on which blocks
it was given. In float32 they equal models/decoder.py up to rounding.

Chosen:   the weights are packed once (weights.py) and no PyTorch is needed after; adapters stay in float32.
Left out: adapters on experts, and qualities of attention that models/decoder.py lacks too.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genwerk.core.errors import ModelError
from genwerk.core.machine import threads_to_use
from genwerk.inference.logits import Logits
from genwerk.inference.native import layout
from genwerk.inference.native.cache_formats import cache_format
from genwerk.inference.native.layout import FORMATS, PANEL, head_size
from genwerk.inference.native.library import load_library, usable_variants
from genwerk.inference.native.weights import MATRICES, PackedWeights, check_shape
from genwerk.inference.runner import BLOCK, Chunk, cache_title, window_title
from genwerk.models.arrays import LINE, Array
from genwerk.models.rope import turns

__all__ = ["NativeDecoder"]

_Whole = np.ndarray[tuple[int], np.dtype[np.signedinteger[Any]]]


@dataclass(frozen=True, slots=True)
class _AdapterTable:
    """The updates of all layers, and what their pointers point at."""

    updates: ctypes.Array[layout.LayerUpdates]
    packed: Mapping[str, Array]


class NativeDecoder:
    """See `Runner`. Not safe among threads: one step at a time.

    weights     float32; int8: 8-bit weights with a scale per output, activations in 8 bits with a scale per row, both
                turned (pack.py); int4: half bytes with a scale and a lowest value per 32 inputs, activations in 8 bits
                with a scale per 32, embeddings int8. With both, keys and values are float16, or bfloat16 where tile
                registers multiply them (attention_tiles.h).
    blocks      cache blocks of 32 positions there are in all.
    positions   most positions a sequence may have.
    adapters    by name, packed (packed_adapter.py).
    variant     instruction set; default: the best this processor has.

    cache_precision   of keys and values: auto, as above and float32 beside float32 weights; or int8
                      (attention_bytes.h).

    Raises NativeUnavailableError where the kernels cannot be built or do not know the network's shape.
    """

    aligned = 1

    def __init__(
        self,
        weights: PackedWeights,
        *,
        blocks: int,
        positions: int | None = None,
        adapters: Mapping[str, Mapping[str, Array]] | None = None,
        threads: int | None = None,
        variant: str | None = None,
        cache_precision: str = "auto",
    ) -> None:
        config = self.config = weights.config
        check_shape(config)
        self.precision, self.blocks = weights.precision, blocks
        self._head = head_size(config)
        self.variant = variant or usable_variants()[0]
        self._library = load_library(self.variant)
        self._kept: list[object] = [weights]
        self.weight_bytes = sum(array.nbytes for array in weights.arrays.values())
        self._positions = positions or config.max_positions
        self._model = self._describe(weights)
        self._tables = {name: self._describe_adapter(packed) for name, packed in (adapters or {}).items()}
        self._point_at_adapters()
        self._padded_vocab = self._model.unembed.outputs
        self.cache_precision = cache_precision
        kept = cache_format(cache_precision, self.precision, self.variant, self._head)
        size = (config.n_layers, blocks, config.n_kv_heads, kept.numbers)
        self.keys, self.values = _untouched(size, kept.dtype), _untouched(size, kept.dtype)
        self._cache = layout.Cache(blocks, FORMATS[kept.name], self.keys.ctypes.data, self.values.ctypes.data)
        self.threads = threads or threads_to_use()
        self._engine = self._library.genwerk_open(self.threads)

    def __del__(self) -> None:
        if getattr(self, "_engine", None):
            self._library.genwerk_close(self._engine)

    @property
    def title(self) -> str:
        return f"native {self.precision} {self.variant}{cache_title(self.cache_precision)}{window_title(self.config)}"

    def add_adapter(self, name: str, path: Path) -> None:
        from genwerk.inference.native.packed_adapter import read_adapter  # PyTorch is imported where one is asked for

        self._tables[name] = self._describe_adapter(read_adapter(self.config, name, path))
        self._point_at_adapters()

    def remove_adapter(self, name: str) -> None:
        del self._tables[name]
        self._point_at_adapters()

    def read_blocks(self, blocks: Sequence[int]) -> bytes:
        return b"".join(pool[:, block].tobytes() for block in blocks for pool in (self.keys, self.values))

    def write_blocks(self, blocks: Sequence[int], data: bytes) -> None:
        places = [(pool, block) for block in blocks for pool in (self.keys, self.values)]
        parts = np.frombuffer(data, dtype=self.keys.dtype).reshape(len(places), -1)
        for (pool, block), part in zip(places, parts, strict=True):
            pool[:, block] = part.reshape(pool[:, block].shape)

    def copy_blocks(self, copies: Sequence[tuple[int, int]]) -> None:
        for source, target in copies:
            for pool in (self.keys, self.values):
                pool[:, target] = pool[:, source]

    def step(self, chunks: Sequence[Chunk]) -> Logits:
        """Run all tokens of `chunks`; logits (sum of wanted, V) float32."""
        if not chunks:
            raise ModelError("a step without tokens")
        first = np.cumsum([0, *(len(chunk.tokens) for chunk in chunks)], dtype=np.int32)
        ends = zip(first[1:], chunks, strict=True)
        rows = np.concatenate([np.arange(end - chunk.wanted, end, dtype=np.int32) for end, chunk in ends])
        tokens = np.concatenate([np.asarray(chunk.tokens, dtype=np.int64) for chunk in chunks])
        self._check(chunks, tokens)
        tokens = tokens.astype(np.int32)
        tables = [np.asarray(chunk.table, dtype=np.int32) for chunk in chunks]
        table = np.cumsum([0, *map(len, tables)], dtype=np.int32)
        adapters = [-1 if chunk.adapter is None else self.adapters.index(chunk.adapter) for chunk in chunks]
        starts = np.asarray([chunk.start for chunk in chunks], dtype=np.int32)
        arrays = (tokens, first, starts, table, np.concatenate(tables), np.asarray(adapters, dtype=np.int32))
        logits = _unwritten(len(rows), self._padded_vocab)
        batch = layout.Batch(
            len(chunks), *(array.ctypes.data for array in arrays), len(rows), rows.ctypes.data, logits.ctypes.data
        )
        self._library.genwerk_step(self._engine, self._model, self._updates, self._cache, batch)
        return logits[:, : self.config.vocab_size]

    def _check(self, chunks: Sequence[Chunk], tokens: _Whole) -> None:
        """What would read or write outside the arrays is a mistake of the caller's: never let it reach the kernels."""
        for chunk in chunks:
            stop = chunk.start + len(chunk.tokens)
            if not chunk.tokens or chunk.start < 0 or stop > min(self._positions, len(chunk.table) * BLOCK):
                raise ModelError(f"positions {chunk.start}..{stop} do not fit into {len(chunk.table)} blocks")
            held = self._held(chunk)
            if min(held) < 0 or max(held) >= self._cache.n_blocks:
                raise ModelError(f"a table names blocks {min(held)} to {max(held)} of {self.blocks}")
            if chunk.adapter is not None and chunk.adapter not in self.adapters:
                raise ModelError(f"there is no adapter `{chunk.adapter}`")
            if not 1 <= chunk.wanted <= len(chunk.tokens):
                raise ModelError(f"logits of {chunk.wanted} tokens are wanted of {len(chunk.tokens)}")
        if tokens.min() < 0 or tokens.max() >= self.config.vocab_size:
            raise ModelError(
                f"tokens {tokens.min()} to {tokens.max()} are not among the model's {self.config.vocab_size}"
            )

    def _held(self, chunk: Chunk) -> Sequence[int]:
        """The blocks of a chunk's table that the kernels look at, and those to come."""
        unseen = range(0) if self.config.view is None else self.config.view.unseen(chunk.start)
        first = -(-unseen.start // BLOCK)
        return [*chunk.table[:first], *chunk.table[max(first, unseen.stop // BLOCK) :]]

    def _describe(self, weights: PackedWeights) -> layout.Model:
        config, arrays = self.config, weights.arrays
        layers = (layout.Layer * config.n_layers)(*(self._layer(arrays, layer) for layer in range(config.n_layers)))
        rope = turns(config.head_dim, config.rope_theta, config.rope_scaling, self._positions)
        self._kept.append(rope)
        described = layout.Model(
            n_layers=config.n_layers,
            n_heads=config.n_heads,
            n_kv_heads=config.n_kv_heads,
            head=self._head,
            head_dim=config.head_dim,
            d_model=config.d_model,
            width=-(-config.d_model // PANEL) * PANEL,
            hidden=-(-config.d_ff // PANEL) * PANEL,
            sinks=config.sinks,
            n_experts=config.n_experts,
            n_chosen=config.n_experts_per_token,
            normalise_experts=config.normalise_experts,
            eps=config.norm_eps,
            layers=layers,
            final_norm=_pointer(arrays, "final_norm"),
            unembed=self._matrix(arrays, "unembed"),
            cos=rope.cos.ctypes.data,
            sin=rope.sin.ctypes.data,
        )
        if not config.tie_embeddings:
            described.embed = ctypes.pointer(self._matrix(arrays, "embed"))
        self._kept += [layers, described.embed]
        return described

    def _layer(self, arrays: Mapping[str, Array], layer: int) -> layout.Layer:
        described = layout.Layer(window=self.config.window_of(layer) or 0)
        for name in MATRICES[:2] if self.config.n_experts else MATRICES:
            setattr(described, name, self._matrix(arrays, f"{layer}.{name}"))
        for name in ("attention_norm", "feed_forward_norm", "query_norm", "key_norm"):
            setattr(described, name, _pointer(arrays, f"{layer}.{name}"))
        if self.config.n_experts:
            described.router = self._matrix(arrays, f"{layer}.router")
            experts = (f"{layer}.expert-{number}" for number in range(self.config.n_experts))
            found = (layout.Expert * self.config.n_experts)(
                *(layout.Expert(*(self._matrix(arrays, f"{one}.{name}") for name in MATRICES[2:])) for one in experts)
            )
            described.experts = found
            self._kept.append(found)
        return described

    def _matrix(self, arrays: Mapping[str, Array], name: str) -> layout.Matrix:
        # (N / 32, K, 32) float32, (N / 32, K' / 4, 32, 4) or (N / 32, K / 32, 640) bytes
        data = arrays[f"{name}.data"]
        precision = "float32" if data.dtype == np.float32 else "int8" if data.ndim == 4 else "int4"
        inputs = self._inputs(name) if precision == "int8" else data.shape[1] * (PANEL if precision == "int4" else 1)
        rest = (_pointer(arrays, f"{name}.{part}") for part in ("scale", "bias"))
        return layout.Matrix(FORMATS[precision], data.shape[0] * PANEL, inputs, data.ctypes.data, *rest)

    def _inputs(self, name: str) -> int:
        """K of a matrix, filled up to a multiple of 32; int8 data is filled up further."""
        config = self.config
        size = {"out": config.n_heads * self._head, "down": config.d_ff}.get(name.rpartition(".")[2], config.d_model)
        return -(-size // PANEL) * PANEL

    def _describe_adapter(self, packed: Mapping[str, Array]) -> _AdapterTable:
        def update(name: str) -> layout.Update:
            there = f"{name}.a.data" in packed
            return (
                layout.Update(*(self._matrix(packed, f"{name}.{part}") for part in "ab")) if there else layout.Update()
            )

        layers = range(self.config.n_layers)
        updates = [layout.LayerUpdates(*(update(f"{layer}.{name}") for name in MATRICES)) for layer in layers]
        return _AdapterTable((layout.LayerUpdates * len(updates))(*updates), packed)

    def _point_at_adapters(self) -> None:
        """An array of pointers, one per adapter, each to the updates of all layers."""
        places = [ctypes.addressof(table.updates) for table in self._tables.values()]
        self.adapters = tuple(self._tables)
        self._updates = (ctypes.c_void_p * max(1, len(places)))(*places)


def _untouched(size: tuple[int, ...], dtype: type) -> np.ndarray[Any, Any]:
    """Zeros that take memory page by page as they are written; NumPy's come in pages of 2 MB, PyTorch's at once."""
    count = math.prod(size)
    memory = mmap.mmap(-1, count * np.dtype(dtype).itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype, count).reshape(size)


def _unwritten(rows: int, columns: int) -> Logits:
    """(rows, columns) from the beginning of a cache line on; NumPy's own arrays begin 16 bytes behind one."""
    size = rows * columns * np.dtype(np.float32).itemsize
    memory = np.empty(size + LINE, np.uint8)
    begin = -memory.ctypes.data % LINE
    return memory[begin : begin + size].view(np.float32).reshape(rows, columns)


def _pointer(arrays: Mapping[str, Array], name: str) -> int | None:
    return arrays[name].ctypes.data if name in arrays else None
