"""Who holds which cache blocks, and which blocks already hold the beginning of a new prompt.

Sources: Kwon et al. (2023), PagedAttention; the prefix cache by content hash of vLLM.

A full block is known by the hash of everything up to its end, adapter included:

    key_0 = H(adapter),   key_{i+1} = H(key_i, the block's 32 tokens)

so a prompt that begins like an earlier one takes the earlier one's blocks, with a reference each, and computes only the
rest. A block that nobody refers to stays findable until its room is needed; the longest unused goes first.

Where no layer sees behind a window, a sequence gives back the blocks that have left it, all but those of the sinks, and
a prompt goes on wherever what it still sees is known: a table has GONE in the other places.

Left out: sharing a block that is not full (copy on write).
Try it:   pytest tests/inference/test_blocks.py
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from genwerk.inference.runner import BLOCK
from genwerk.models.decoder_config import Window

__all__ = ["GONE", "BlockManager", "Known", "Table", "chain_of"]

GONE = -1


@dataclass(slots=True)
class Table:
    """The blocks of one sequence in order, GONE where it holds none any more; and the hashes of the sealed ones."""

    adapter: str | None
    blocks: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)

    @property
    def sealed(self) -> int:
        """Positions in sealed blocks."""
        return len(self.keys) * BLOCK


class Known(NamedTuple):
    """A block that is found again: the hash of all up to its end, and the adapter it was computed with."""

    block: int
    key: bytes
    adapter: str | None


class BlockManager:
    """Hands out `count` blocks. With `share` off nothing is found again. Not safe among threads.

    window   what later tokens see of a text; None: all of it
    """

    def __init__(self, count: int, *, share: bool = True, window: Window | None = None) -> None:
        self.count, self.window, self._share = count, window, share
        self._free = list(range(count - 1, -1, -1))
        self._idle: OrderedDict[int, None] = OrderedDict()  # findable, held by nobody; longest unused first
        self._references = [0] * count
        self._key_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self._adapter_of: dict[int, str | None] = {}

    @property
    def available(self) -> int:
        """Blocks that could be handed out now."""
        return len(self._free) + len(self._idle)

    def open(self, adapter: str | None, tokens: Sequence[int], *, aligned: int = 1) -> Table:
        """A table that holds the longest known beginning of `tokens`, in whole multiples of `aligned` positions.

        At least the last token is left to compute, because its logits are needed.
        """
        table = Table(adapter)
        chain = self._chain(adapter, tokens) if self._share else []
        known = [self._block_of.get(key) for key in chain]
        step = max(1, aligned // BLOCK)
        for size in range(len(chain) // step * step, 0, -step):
            hidden = self._hidden(size * BLOCK)
            if None not in known[: hidden.start] and None not in known[hidden.stop : size]:
                table.keys = chain[:size]
                table.blocks = [GONE if i in hidden or block is None else block for i, block in enumerate(known[:size])]
                break
        for block in _held(table):
            self._hold(block)
        return table

    def _chain(self, adapter: str | None, tokens: Sequence[int]) -> list[bytes]:
        """Keys of the full blocks of `tokens`, without the last token, as far as any may be known."""
        key, chain = _root(adapter), []
        for start in range(0, len(tokens) - BLOCK, BLOCK):
            key = _hash(key, array("q", tokens[start : start + BLOCK]).tobytes())
            if self.window is None and key not in self._block_of:
                break
            chain.append(key)
        return chain

    def _hidden(self, position: int) -> range:
        """Places in a table that hold nothing that is seen from `position` on."""
        if self.window is None:
            return range(0)
        unseen = self.window.unseen(position)
        first = -(-unseen.start // BLOCK)
        return range(first, max(first, unseen.stop // BLOCK))

    def release(self, table: Table, position: int) -> None:
        """Give back the blocks that are not seen any more from `position` on."""
        for index in reversed(self._hidden(position)):
            if table.blocks[index] == GONE:
                return  # so are all before it
            self._let_go(table.blocks[index])
            table.blocks[index] = GONE

    def extend(self, table: Table, positions: int) -> bool:
        """Give `table` room for `positions`; False, and nothing is changed, where there are too few blocks."""
        missing = -(-positions // BLOCK) - len(table.blocks)
        if missing > self.available:
            return False
        for _ in range(missing):
            block = self._free.pop() if self._free else self._evict()
            self._references[block] = 1
            table.blocks.append(block)
        return True

    def seal(self, table: Table, tokens: Sequence[int], positions: int) -> None:
        """Make the full blocks among the first `positions` of `tokens`, which are computed, findable."""
        if not self._share:
            return
        for index in range(len(table.keys), positions // BLOCK):
            held = array("q", tokens[index * BLOCK : (index + 1) * BLOCK]).tobytes()
            key = _hash(table.keys[-1] if table.keys else _root(table.adapter), held)
            table.keys.append(key)
            if key not in self._block_of and table.blocks[index] != GONE:  # else another computed the same beside it
                self._name(table.blocks[index], key, table.adapter)

    def close(self, table: Table, *, forget: bool = False) -> None:
        """Take back all blocks of `table`; with `forget` what they hold is not to be found again."""
        if forget:
            self._forget_gone(table)
        for block in reversed(_held(table)):  # the end of a prompt is less likely to be shared: it goes first
            if forget:
                self._unname(block)
            self._let_go(block)
        table.blocks.clear()
        table.keys.clear()

    def forget(self, adapter: str | None) -> None:
        """Let nothing be found again that was computed with `adapter`."""
        for block in [block for block, other in self._adapter_of.items() if other == adapter]:
            self._drop(block)

    def _forget_gone(self, table: Table) -> None:
        for block, key in zip(table.blocks, table.keys, strict=False):
            if block == GONE and (named := self._block_of.get(key)) is not None:
                self._drop(named)

    def _drop(self, block: int) -> None:
        """Let a named block not be found again."""
        self._unname(block)
        if block in self._idle:
            del self._idle[block]
            self._free.append(block)

    def known(self) -> list[Known]:
        """All that is found again: what nobody uses first, the longest unused at the head."""
        held = (block for block in self._key_of if self._references[block])
        return [Known(block, self._key_of[block], self._adapter_of[block]) for block in (*self._idle, *held)]

    def adopt(self, key: bytes, adapter: str | None) -> int | None:
        """A free block, to be filled, that is found as `key` from now on; None where there is none or it is known."""
        if not self._share or not self._free or key in self._block_of:
            return None
        block = self._free.pop()
        self._name(block, key, adapter)
        self._idle[block] = None
        return block

    def check(self) -> None:
        """Raise AssertionError unless every block is free, idle or held, and only one of them."""
        held = {block for block, references in enumerate(self._references) if references}
        assert len(self._free) == len(set(self._free))
        assert held.isdisjoint(self._free) and held.isdisjoint(self._idle) and set(self._free).isdisjoint(self._idle)
        assert len(held) + len(self._free) + len(self._idle) == self.count
        assert {key: block for block, key in self._key_of.items()} == self._block_of
        assert self._adapter_of.keys() == self._key_of.keys()
        assert set(self._idle) <= set(self._key_of) and set(self._free).isdisjoint(self._key_of)

    def _hold(self, block: int) -> None:
        self._idle.pop(block, None)
        self._references[block] += 1

    def _let_go(self, block: int) -> None:
        self._references[block] -= 1
        if self._references[block] == 0:
            if block in self._key_of:
                self._idle[block] = None
            else:
                self._free.append(block)

    def _evict(self) -> int:
        block, _ = self._idle.popitem(last=False)
        self._unname(block)
        return block

    def _name(self, block: int, key: bytes, adapter: str | None) -> None:
        self._block_of[key], self._key_of[block], self._adapter_of[block] = block, key, adapter

    def _unname(self, block: int) -> None:
        key = self._key_of.pop(block, None)
        if key is not None:
            del self._block_of[key], self._adapter_of[block]


def _held(table: Table) -> list[int]:
    return [block for block in table.blocks if block != GONE]


def chain_of(adapter: str | None, tokens: Sequence[int]) -> tuple[bytes, ...]:
    """The keys of all full blocks of `tokens`, in order: what two prompts have in common, their chains begin with."""
    keys = [_root(adapter)]
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        keys.append(_hash(keys[-1], array("q", tokens[start : start + BLOCK]).tobytes()))
    return tuple(keys[1:])


def _root(adapter: str | None) -> bytes:
    return _hash(b"", repr(adapter).encode())


def _hash(before: bytes, held: bytes) -> bytes:
    return hashlib.blake2b(before + held, digest_size=16).digest()
