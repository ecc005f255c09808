"""A decoder whose steps run in the native kernels: many sequences at once, each with a table of cache blocks.

    native = NativeDecoder(decoder, precision="int8", blocks=256)
    logits = native.step([Chunk(tokens, start=0, table=[3, 7], adapter=None)])

A row's numbers depend on its own sequence alone: not on the batch, not on how its prompt was cut, not on which blocks
it was given. In float32 they equal models/decoder.py up to rounding.

Chosen:   the weights are packed once (pack.py) and the decoder is not needed after; adapters stay in float32.
Left out: experts and qualities of attention that models/decoder.py lacks too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from genwerk.core.errors import ModelError
from genwerk.inference.native import layout
from genwerk.inference.native.library import NativeUnavailableError, load_library, variants
from genwerk.inference.native.pack import PANEL, Arrangement, Packed, fill, pack
from genwerk.inference.runner import BLOCK, Chunk
from genwerk.models.decoder import Attention, Block, Decoder
from genwerk.models.feed_forward import MLP
from genwerk.models.linear import Linear
from genwerk.models.lora import adapter_products

__all__ = ["NativeDecoder"]

_MOST_HEAD = 256
_MATRICES = ("qkv", "out", "gate_up", "down")


class NativeDecoder:
    """See `Runner`. Not safe among threads: one step at a time.

    precision   "float32", or "int8": 8-bit weights with a scale per output, activations rounded in groups of 32.
    blocks      cache blocks of 32 positions there are in all.
    positions   most positions a sequence may have.
    variant     instruction set; default: the best this processor has.

    Raises NativeUnavailableError where the kernels cannot be built or do not know the network's shape.
    """

    aligned = 1

    def __init__(
        self,
        model: Decoder,
        *,
        precision: str = "float32",
        blocks: int,
        positions: int | None = None,
        adapters: Sequence[str] = (),
        threads: int | None = None,
        variant: str | None = None,
    ) -> None:
        config = self.config = model.config
        self.precision, self.adapters, self.blocks = precision, tuple(adapters), blocks
        self._arrange = Arrangement(config)
        if config.n_experts:
            raise NativeUnavailableError("the native kernels have no experts yet", remedy="PyTorch runs this model.")
        if self._arrange.head > _MOST_HEAD:
            raise NativeUnavailableError(f"the native kernels' heads hold {_MOST_HEAD} at most, not {config.head_dim}")
        self._library = load_library()
        self.variant = variant or variants(self._library)[0]
        self._kept: list[object] = []
        self._model = self._describe(model, positions or config.max_positions)
        self._updates = self._describe_adapters(model)
        self._padded_vocab = self._model.unembed.outputs
        size = (config.n_layers, blocks, config.n_kv_heads, PANEL * self._arrange.head)
        with torch.inference_mode(False):
            self.keys, self.values = torch.zeros(size, device="cpu"), torch.zeros(size, device="cpu")
        self._cache = layout.Cache(blocks, self.keys.data_ptr(), self.values.data_ptr())
        self.threads = threads or torch.get_num_threads()
        self._engine = self._library.genwerk_open(self.variant.encode(), self.threads)
        if not self._engine:
            raise NativeUnavailableError(f"this processor cannot run the variant {self.variant}")

    def __del__(self) -> None:
        if getattr(self, "_engine", None):
            self._library.genwerk_close(self._engine)

    @property
    def title(self) -> str:
        return f"native {self.precision} {self.variant}"

    def step(self, chunks: Sequence[Chunk], wanted: Sequence[int] | None = None) -> Tensor:
        """Run all tokens of `chunks`; logits (n, V) float32 of the rows `wanted`, by default the last of each chunk."""
        first = np.cumsum([0, *(len(chunk.tokens) for chunk in chunks)], dtype=np.int32)
        rows = np.asarray(first[1:] - 1 if wanted is None else wanted, dtype=np.int32)
        tokens = np.concatenate([np.asarray(chunk.tokens, dtype=np.int32) for chunk in chunks])
        self._check(chunks, tokens)
        tables = [np.asarray(chunk.table, dtype=np.int32) for chunk in chunks]
        table = np.cumsum([0, *map(len, tables)], dtype=np.int32)
        adapters = [-1 if chunk.adapter is None else self.adapters.index(chunk.adapter) for chunk in chunks]
        starts = np.asarray([chunk.start for chunk in chunks], dtype=np.int32)
        arrays = (tokens, first, starts, table, np.concatenate(tables), np.asarray(adapters, dtype=np.int32))
        logits = torch.empty(len(rows), self._padded_vocab, device="cpu")
        batch = layout.Batch(
            len(chunks), *(array.ctypes.data for array in arrays), len(rows), rows.ctypes.data, logits.data_ptr()
        )
        self._library.genwerk_step(self._engine, self._model, self._updates, self._cache, batch)
        return logits[:, : self.config.vocab_size]

    def _check(self, chunks: Sequence[Chunk], tokens: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
        """What would read or write outside the arrays is a mistake of the caller's: never let it reach the kernels."""
        for chunk in chunks:
            stop = chunk.start + len(chunk.tokens)
            if not chunk.tokens or chunk.start < 0 or stop > min(self._positions, len(chunk.table) * BLOCK):
                raise ModelError(f"positions {chunk.start}..{stop} do not fit into {len(chunk.table)} blocks")
            if min(chunk.table) < 0 or max(chunk.table) >= self._cache.n_blocks:
                raise ModelError(f"a table names block {max(chunk.table)} of {self._cache.n_blocks}")
        if tokens.min() < 0 or tokens.max() >= self.config.vocab_size:
            raise ModelError(f"token {int(tokens.max())} is not among the model's {self.config.vocab_size}")

    def _describe(self, model: Decoder, positions: int) -> layout.Model:
        config, arrange = self.config, self._arrange
        with torch.inference_mode(False), torch.no_grad():
            layers = (layout.Layer * config.n_layers)(*(self._describe_layer(block) for block in _blocks(model)))
            cos, sin = model.rope.rows(0, positions, torch.empty(0, device="cpu"))  # (S, 1, D)
            half = config.head_dim // 2
            self._positions = positions
            embedding = model.embed_tokens if model.lm_head is None else model.lm_head
            described = layout.Model(
                n_layers=config.n_layers,
                n_heads=config.n_heads,
                n_kv_heads=config.n_kv_heads,
                head=arrange.head,
                head_dim=config.head_dim,
                d_model=config.d_model,
                width=-(-config.d_model // PANEL) * PANEL,
                hidden=-(-config.d_ff // PANEL) * PANEL,
                vocab=config.vocab_size,
                window=config.sliding_window or 0,
                eps=config.norm_eps,
                layers=layers,
                final_norm=self._vector(model.norm.weight),
                unembed=self._matrix(pack(embedding, None, self.precision)),
                cos=self._keep(cos[:, 0, :half].contiguous()),
                sin=self._keep(sin[:, 0, half:].contiguous()),
            )
            if model.lm_head is not None:
                described.embed = ctypes.pointer(self._matrix(pack(model.embed_tokens, None, self.precision)))
        self._kept += [layers, described.embed]
        return described

    def _describe_layer(self, block: Block) -> layout.Layer:
        attention = block.self_attn
        norms: list[int] | tuple[None, None] = (None, None)
        if attention.qk_norm is not None:
            norms = [self._vector(row, self._arrange.head) for row in attention.qk_norm.detach()]
        return layout.Layer(
            *(self._pack(name, linear) for name, linear in _linears(block)),
            self._vector(block.input_layernorm.weight),
            self._vector(block.post_attention_layernorm.weight),
            *norms,
        )

    def _pack(self, name: str, linear: Linear) -> layout.Matrix:
        weight = self._arrange.outputs(name, linear.weight.detach())
        weight = self._arrange.inputs(name, weight.t()).t()
        bias = None if linear.bias is None else self._arrange.outputs(name, linear.bias.detach())
        return self._matrix(pack(weight, bias, self.precision))

    def _describe_adapters(self, model: Decoder) -> object:
        """An array of pointers, one per adapter, each to the updates of all layers."""
        tables = [
            (layout.LayerUpdates * self.config.n_layers)(
                *(
                    layout.LayerUpdates(*(self._update(name, linear, adapter) for name, linear in _linears(block)))
                    for block in _blocks(model)
                )
            )
            for adapter in self.adapters
        ]
        self._kept += tables
        return (ctypes.c_void_p * max(1, len(tables)))(*(ctypes.addressof(table) for table in tables))

    def _update(self, name: str, linear: Linear, adapter: str) -> layout.Update:
        products = adapter_products(linear, adapter)
        if products is None:
            return layout.Update()
        a = self._arrange.inputs(name, products.a.t()).t()  # (r, K)
        b = self._arrange.outputs(name, products.b)  # (N, r)
        return layout.Update(self._matrix(pack(a, None, "float32")), self._matrix(pack(b, None, "float32")))

    def _vector(self, weight: Tensor, multiple: int = PANEL) -> int:
        return self._keep(fill(weight.detach().float(), 0, multiple).contiguous())

    def _keep(self, tensor: Tensor) -> int:
        tensor = tensor.clone()
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _matrix(self, packed: Packed) -> layout.Matrix:
        self._kept.append(packed)
        return packed.matrix


def _blocks(model: Decoder) -> Iterator[Block]:
    for block in model.layers:
        assert isinstance(block, Block)
        yield block


def _linears(block: Block) -> Iterator[tuple[str, Linear]]:
    mlp, attention = block.mlp, block.self_attn
    assert isinstance(mlp, MLP) and isinstance(attention, Attention)
    return zip(_MATRICES, (attention.qkv, attention.out, mlp.gate_up, mlp.down), strict=True)
