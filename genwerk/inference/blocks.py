"""Who holds which cache blocks, and which blocks already hold the beginning of a new prompt.

Sources: Kwon et al. (2023), PagedAttention; the prefix cache by content hash of vLLM.

A full block is known by the hash of everything up to its end, adapter included:

    key_0 = H(adapter),   key_{i+1} = H(key_i, the block's 32 tokens)

so a prompt that begins like an earlier one takes the earlier one's blocks, with a reference each, and computes only the
rest. Of the block behind them, which is filled in part (tails.py), it takes the positions they have in common; before
it writes there it gets a copy, unless nobody else does. A block that nobody refers to stays findable until its room is
needed; those filled in part go first, then the longest unused.

Where no layer sees behind a window, a sequence gives back the blocks that have left it, all but those of the sinks, and
a prompt goes on wherever what it still sees is known: a table has GONE in the other places. There, only full blocks are
shared.

Try it:   pytest tests/inference/test_blocks.py
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

from genwerk.inference.runner import BLOCK
from genwerk.inference.tails import Tail, Tails
from genwerk.models.decoder_config import Window

__all__ = ["GONE", "BlockManager", "Copy", "Known", "Table", "chain_of"]

GONE = -1


@dataclass(eq=False, slots=True)
class Table:
    """The blocks of one sequence in order, GONE where it holds none any more; and the hashes of the sealed ones.
    `borrowed`: positions that are read of another's block behind those; 0 once the block is the table's own."""

    adapter: str | None
    blocks: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    borrowed: int = 0

    @property
    def sealed(self) -> int:
        """Positions in sealed blocks."""
        return len(self.keys) * BLOCK

    @property
    def known(self) -> int:
        """Positions that need not be computed, right after it was opened."""
        return self.sealed + self.borrowed


class Copy(NamedTuple):
    """What one block holds is to be written into another, before anything else is written."""

    source: int
    target: int


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
        self._idle_tails: OrderedDict[int, None] = OrderedDict()  # the same, filled in part
        self._tails = Tails()
        self._copies: list[Copy] = []
        self._references = [0] * count
        self._key_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self._adapter_of: dict[int, str | None] = {}

    @property
    def available(self) -> int:
        """Blocks that could be handed out now."""
        return len(self._free) + len(self._idle) + len(self._idle_tails)

    def open(self, adapter: str | None, tokens: Sequence[int], *, aligned: int = 1) -> Table:
        """A table that holds the longest known beginning of `tokens`, in whole multiples of `aligned` positions.

        Where that is 1, positions of a block that is filled in part may be among them, see `extend`. At least the last
        token is left to compute, because its logits are needed.
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
        if aligned == 1 and self._share and self.window is None:
            self._borrow(table, tokens[table.sealed : min(table.sealed + BLOCK, len(tokens) - 1)])
        return table

    def _chain(self, adapter: str | None, tokens: Sequence[int]) -> list[bytes]:
        """Keys of the full blocks of `tokens`, without the last token, as far as any may be known."""
        keys = _keys(adapter, tokens[:-1])
        return list(keys if self.window is not None else takewhile(self._block_of.__contains__, keys))

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
        """Give `table` room for `positions`, and a block of its own to write into; False, and nothing is changed, where
        there are too few blocks. What has to be copied for it stands in `take_copies`."""
        missing = max(0, -(-positions // BLOCK) - len(table.blocks))
        writes = table.borrowed > 0 and positions > table.known
        # A block that nobody else holds is copied to keep what stands there, as long as there is room for that.
        copies = writes and not self._can_own(table) and (self._is_shared(table) or missing < self.available)
        if missing + copies > self.available:
            return False
        if copies:
            self._copy_borrowed(table)
        elif writes:
            self._own_borrowed(table)
        for _ in range(missing):
            table.blocks.append(self._take())
        return True

    def take_copies(self) -> list[Copy]:
        """What is to be copied, in this order, before the next step."""
        copies, self._copies = self._copies, []
        return copies

    def note(self, table: Table, tokens: Sequence[int]) -> None:
        """Make the block behind the sealed ones findable, whose first positions hold `tokens`, fewer than a block."""
        if not self._share or not tokens or self.window is not None:
            return
        block = table.blocks[len(table.keys)]
        if (tail := self._tails.get(block)) is None:
            self._tails.add(block, Tail(_last_key(table), table.adapter, list(tokens), id(table)))
        else:
            assert tail.owner == id(table) and tail.tokens == list(tokens[: len(tail.tokens)])
            tail.tokens[:] = tokens

    def seal(self, table: Table, tokens: Sequence[int], positions: int) -> None:
        """Make the full blocks among the first `positions` of `tokens`, which are computed, findable."""
        if not self._share:
            return
        for index in range(len(table.keys), positions // BLOCK):
            key = _next(_last_key(table), tokens[index * BLOCK : (index + 1) * BLOCK])
            table.keys.append(key)
            self._tails.drop(table.blocks[index])
            if key not in self._block_of and table.blocks[index] != GONE:  # else another computed the same beside it
                self._name(table.blocks[index], key, table.adapter)

    def close(self, table: Table, *, forget: bool = False) -> None:
        """Take back all blocks of `table`; with `forget` what they hold is not to be found again."""
        if forget:
            self._forget_gone(table)
        for block in reversed(_held(table)):  # the end of a prompt is less likely to be shared: it goes first
            if forget:
                self._unname(block)
                self._tails.drop(block)
            elif (tail := self._tails.get(block)) is not None and tail.owner == id(table):
                tail.owner = None
            self._let_go(block)
        table.blocks.clear()
        table.keys.clear()
        table.borrowed = 0

    def forget(self, adapter: str | None) -> None:
        """Let nothing be found again that was computed with `adapter`."""
        for block in [block for block, other in self._adapter_of.items() if other == adapter]:
            self._drop(block)
        for block in self._tails.of_adapter(adapter):
            self._tails.drop(block)
            if block in self._idle_tails:
                del self._idle_tails[block]
                self._free.append(block)

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
        parts = [held, set(self._free), set(self._idle), set(self._idle_tails)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == self.count and len(self._free) == len(parts[1])
        assert {key: block for block, key in self._key_of.items()} == self._block_of
        assert self._adapter_of.keys() == self._key_of.keys()
        tails = set(self._tails)
        assert set(self._idle) <= set(self._key_of) and tails.isdisjoint(self._key_of)
        assert set(self._idle_tails) == tails - held and tails.isdisjoint(self._free)
        assert set(self._free).isdisjoint(self._key_of)

    def _borrow(self, table: Table, tokens: Sequence[int]) -> None:
        """Take a block behind the sealed ones that begins with as many of `tokens` as any."""
        match = self._tails.find(_last_key(table), tokens)
        if match is not None:
            self._hold(match.block)
            table.blocks.append(match.block)
            table.borrowed = match.positions

    def _can_own(self, table: Table) -> bool:
        """Whether the borrowed block ends where the table goes on, and nobody else writes there."""
        tail = self._tails.get(table.blocks[len(table.keys)])
        return tail is not None and tail.owner is None and len(tail.tokens) == table.borrowed

    def _is_shared(self, table: Table) -> bool:
        return self._references[table.blocks[len(table.keys)]] > 1

    def _own_borrowed(self, table: Table) -> None:
        """Write into the block itself; what stood behind the borrowed positions is not found again."""
        block = table.blocks[len(table.keys)]
        if (tail := self._tails.get(block)) is not None:
            tail.owner = id(table)
            del tail.tokens[table.borrowed :]
        self._unname(block)  # where it was filled since
        table.borrowed = 0

    def _copy_borrowed(self, table: Table) -> None:
        source, target = table.blocks[len(table.keys)], self._take()
        self._copies.append(Copy(source, target))
        table.blocks[len(table.keys)] = target
        table.borrowed = 0
        self._let_go(source)

    def _take(self) -> int:
        block = self._free.pop() if self._free else self._evict()
        self._references[block] = 1
        return block

    def _hold(self, block: int) -> None:
        self._idle.pop(block, None)
        self._idle_tails.pop(block, None)
        self._references[block] += 1

    def _let_go(self, block: int) -> None:
        self._references[block] -= 1
        if self._references[block]:
            return
        if block in self._key_of:
            self._idle[block] = None
        elif block in self._tails:
            self._idle_tails[block] = None
        else:
            self._free.append(block)

    def _evict(self) -> int:
        block, _ = (self._idle_tails or self._idle).popitem(last=False)
        self._unname(block)
        self._tails.drop(block)
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
    return tuple(_keys(adapter, tokens))


def _keys(adapter: str | None, tokens: Sequence[int]) -> Iterator[bytes]:
    key = _root(adapter)
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        key = _next(key, tokens[start : start + BLOCK])
        yield key


def _root(adapter: str | None) -> bytes:
    return _hash(b"", repr(adapter).encode())


def _next(key: bytes, tokens: Sequence[int]) -> bytes:
    """The key of the block that holds `tokens` and stands behind `key`."""
    return _hash(key, array("q", tokens).tobytes())


def _last_key(table: Table) -> bytes:
    """The hash of everything in the sealed blocks of `table`."""
    return table.keys[-1] if table.keys else _root(table.adapter)


def _hash(before: bytes, held: bytes) -> bytes:
    return hashlib.blake2b(before + held, digest_size=16).digest()
