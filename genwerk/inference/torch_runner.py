"""The reference: models/decoder.py, one chunk after the other, with keys and values gathered from their blocks.

It runs every network on every device that PyTorch knows. Products of another size add up in another order, so the same
numbers come out only where prompts are cut at the same places: at multiples of 256 positions.

Left out: several sequences in one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from genwerk.inference.logits import Logits
from genwerk.inference.runner import BLOCK, Chunk, window_title
from genwerk.models.decoder import Decoder
from genwerk.models.lora import load_adapter, remove_adapter, use_adapter

__all__ = ["TorchRunner"]


class TorchRunner:
    """Owns `model` from then on. See `Runner`."""

    aligned = 256

    def __init__(self, model: Decoder, *, blocks: int, adapters: Sequence[str] = ()) -> None:
        self.model, self.config, self.blocks, self.adapters = model.eval(), model.config, blocks, tuple(adapters)
        self.precision = str(model.dtype).removeprefix("torch.")
        config = model.config
        shape = (config.n_layers, config.n_kv_heads, blocks, BLOCK, config.head_dim)
        with torch.inference_mode(False):
            self._keys = torch.zeros(shape, dtype=model.dtype, device=model.device)
            self._values = torch.zeros_like(self._keys)
        self._active: str | None = None
        use_adapter(model, None)

    @property
    def title(self) -> str:
        where = torch.backends.cpu.get_cpu_capability() if self.model.device.type == "cpu" else str(self.model.device)
        threads = f"{torch.get_num_threads()} threads"
        return f"torch {torch.__version__} {self.precision} {where}, {threads}{window_title(self.config)}"

    def add_adapter(self, name: str, path: Path) -> None:
        load_adapter(self.model, name, path)
        self.model.eval()
        self.adapters = (*self.adapters, name)

    def remove_adapter(self, name: str) -> None:
        remove_adapter(self.model, name)
        self.adapters = tuple(other for other in self.adapters if other != name)
        self._active = None if self._active == name else self._active

    def read_blocks(self, blocks: Sequence[int]) -> bytes:
        held = (pool[:, :, block].contiguous().cpu() for block in blocks for pool in (self._keys, self._values))
        return b"".join(one.view(torch.uint8).numpy().tobytes() for one in held)

    def write_blocks(self, blocks: Sequence[int], data: bytes) -> None:
        places = [(pool, block) for block in blocks for pool in (self._keys, self._values)]
        parts = torch.frombuffer(bytearray(data), dtype=self._keys.dtype).view(len(places), -1)
        with torch.inference_mode():
            for (pool, block), part in zip(places, parts, strict=True):
                pool[:, :, block] = part.view_as(pool[:, :, block]).to(pool.device)

    def copy_blocks(self, copies: Sequence[tuple[int, int]]) -> None:
        with torch.inference_mode():
            for source, target in copies:
                for pool in (self._keys, self._values):
                    pool[:, :, target] = pool[:, :, source]

    def step(self, chunks: Sequence[Chunk]) -> Logits:
        rows = torch.cat([self._run(chunk) for chunk in chunks])
        logits: Logits = rows.to("cpu", torch.float32).numpy()
        return logits

    @torch.inference_mode()
    def states(self, tokens: Sequence[int], adapter: str | None = None) -> Tensor:
        self._use(adapter)
        return self.model.hidden(torch.tensor([list(tokens)], device=self.model.device))[0]

    def _use(self, adapter: str | None) -> None:
        if adapter != self._active:
            use_adapter(self.model, adapter)
            self._active = adapter

    @torch.inference_mode()
    def _run(self, chunk: Chunk) -> Tensor:
        self._use(chunk.adapter)
        table = torch.tensor(chunk.table, device=self.model.device)
        cache = _Blocks(self._keys, self._values, table, chunk.start)
        hidden = self.model.hidden(torch.tensor([list(chunk.tokens)], device=self.model.device), cache=cache)[0]
        last = self.model.logits(hidden[-1:])  # on its own, so that it is the same whatever else is wanted
        return last if chunk.wanted == 1 else torch.cat([self.model.logits(hidden[-chunk.wanted : -1]), last])


class _Blocks:
    """One sequence's blocks as a decoder's `Cache`."""

    def __init__(self, keys: Tensor, values: Tensor, table: Tensor, length: int) -> None:
        self._keys, self._values, self._table, self.length = keys, values, table, length

    def append(self, layer: int, keys: Tensor, values: Tensor, unseen: range = range(0)) -> tuple[Tensor, Tensor]:
        """Write (1, K, T, D) at the positions from `length` on; returns all up to them but `unseen`, (1, K, S, D)."""
        return self._put(self._keys[layer], keys, unseen), self._put(self._values[layer], values, unseen)

    def _put(self, pool: Tensor, new: Tensor, unseen: range) -> Tensor:
        stop = self.length + new.shape[2]
        at = torch.arange(self.length, stop, device=pool.device)
        pool[:, self._table[at // BLOCK], at % BLOCK] = new[0]
        seen = [self._read(pool, 0, unseen.start), self._read(pool, unseen.stop, stop)]
        return torch.cat(seen, 1)[None] if unseen.start else seen[1][None]

    def _read(self, pool: Tensor, start: int, stop: int) -> Tensor:
        """Some positions, (K, S, D); no block without them is touched."""
        first = start // BLOCK
        held = pool[:, self._table[first : -(-stop // BLOCK)]]  # (K, n, 32, D)
        return held.flatten(1, 2)[:, start - first * BLOCK : stop - first * BLOCK]

    def advance(self, tokens: int) -> None:
        self.length += tokens
