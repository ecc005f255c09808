"""Cache blocks: no two sequences share one by mistake, none is lost, and what is found again is what was computed."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from genwerk.inference.blocks import GONE, BlockManager, Table
from genwerk.inference.runner import BLOCK
from genwerk.models.decoder_config import Window

Text = tuple[str | None, tuple[int, ...]]  # adapter, and all tokens up to the end of a block

ADAPTERS = (None, "handbook")
WINDOWS = (None, None, Window(1), Window(33), Window(40, sinks=4), Window(64, sinks=32))


def seen(window: Window | None, index: int, position: int) -> bool:
    """Whether anything in block `index` is seen from `position` on."""
    places = range(index * BLOCK, (index + 1) * BLOCK)
    return window is None or any(at < window.sinks or at > position - window.size for at in places)


def texts(adapter: str | None, tokens: list[int], stop: int) -> list[Text]:
    """What each full block among the first `stop` positions holds."""
    return [(adapter, tuple(tokens[:end])) for end in range(BLOCK, stop + 1, BLOCK)]


@dataclass(eq=False)
class Holder:
    """A table and what its sequence has written there."""

    table: Table
    adapter: str | None
    tokens: list[int]
    released: int = 0


@st.composite
def prompts(draw: st.DrawFn) -> list[int]:
    """Few different blocks and a tail, so that many prompts begin alike."""
    pieces = draw(st.lists(st.integers(0, 1), max_size=4))
    return [token for token in pieces for _ in range(BLOCK)] + [2] * draw(st.integers(1, BLOCK + 1))


class BlocksMachine(RuleBasedStateMachine):
    """A model beside the manager: `findable` says which block holds a text, `idle` which of them were left when."""

    holders: Bundle[Holder] = Bundle("holders")

    @initialize(
        count=st.integers(1, 14), share=st.sampled_from([True, True, True, False]), window=st.sampled_from(WINDOWS)
    )
    def begin(self, count: int, share: bool, window: Window | None) -> None:
        self.manager = BlockManager(count, share=share, window=window)
        self.count, self.share, self.window = count, share, window
        self.open: list[Holder] = []
        self.findable: dict[Text, int] = {}
        self.idle: list[int] = []

    @rule(target=holders, tokens=prompts(), adapter=st.sampled_from(ADAPTERS), aligned=st.sampled_from([1, 32, 64, 96]))
    def open_a_table(self, tokens: list[int], adapter: str | None, aligned: int) -> Holder:
        table = self.manager.open(adapter, tokens, aligned=aligned)
        full = texts(adapter, tokens, len(tokens) - 1)
        step = max(aligned, BLOCK)
        sizes = range(len(full) * BLOCK // step * step, 0, -step)
        adopted = next((size for size in sizes if self._goes_on(full, size)), 0)
        assert table.blocks == [
            self.findable[text] if seen(self.window, index, adopted) else GONE
            for index, text in enumerate(full[: adopted // BLOCK])
        ]
        assert table.sealed == adopted < len(tokens)
        self.idle = [block for block in self.idle if block not in table.blocks]
        return self._opened(Holder(table, adapter, tokens, adopted))

    @rule(holder=holders, positions=st.integers(0, 8 * BLOCK))
    def extend(self, holder: Holder, positions: int) -> None:
        before, held = copy.deepcopy(vars(self.manager)), list(holder.table.blocks)
        available = self.manager.available
        missing = max(0, -(-positions // BLOCK) - len(held))
        if not self.manager.extend(holder.table, positions):
            assert missing > available
            assert vars(self.manager) == before and holder.table.blocks == held
            return
        assert missing <= available and self.manager.available == available - missing
        added = holder.table.blocks[len(held) :]
        assert holder.table.blocks[: len(held)] == held and len(added) == missing
        evicted = self.idle[: max(0, missing - (available - len(self.idle)))]
        named = set(self.findable.values())
        assert [block for block in added if block in named] == evicted
        self.idle = self.idle[len(evicted) :]
        self._forget(evicted)

    @rule(holder=holders, back=st.integers(0, 2 * BLOCK))
    def release(self, holder: Holder, back: int) -> None:
        position = max(holder.released, min(len(holder.tokens), len(holder.table.blocks) * BLOCK) - back)
        before = list(holder.table.blocks)
        self.manager.release(holder.table, position)
        holder.released = position
        gone = [index for index in range(len(before)) if not seen(self.window, index, position)]
        assert holder.table.blocks == [GONE if index in gone else block for index, block in enumerate(before)]
        self._left([block for index, block in enumerate(before) if index in gone and block != GONE])

    @rule(holder=holders, token=st.integers(0, 2), times=st.integers(1, BLOCK))
    def draw(self, holder: Holder, token: int, times: int) -> None:
        holder.tokens.extend([token] * times)

    @rule(holder=holders, short=st.integers(0, BLOCK))
    def seal(self, holder: Holder, short: int) -> None:
        positions = max(0, min(len(holder.tokens), len(holder.table.blocks) * BLOCK) - short)
        before = holder.table.sealed
        self.manager.seal(holder.table, holder.tokens, positions)
        for text in texts(holder.adapter, holder.tokens, positions)[before // BLOCK :] if self.share else ():
            block = holder.table.blocks[len(text[1]) // BLOCK - 1]
            if block == GONE:
                continue
            assert not any(block in other.table.blocks for other in self.open if other is not holder)
            self.findable.setdefault(text, block)

    @rule(holder=consumes(holders), forget=st.sampled_from([False, False, True]))
    def close(self, holder: Holder, forget: bool) -> None:
        blocks = [block for block in holder.table.blocks if block != GONE]
        if forget:
            full = texts(holder.adapter, holder.tokens, holder.table.sealed)
            lost = [text for text, block in zip(full, holder.table.blocks, strict=False) if block == GONE]
            gone = [self.findable[text] for text in lost if text in self.findable]
            self._forget(gone)
            self.idle = [block for block in self.idle if block not in gone]
        self.manager.close(holder.table, forget=forget)
        self.open.remove(holder)
        assert holder.table.blocks == [] and holder.table.sealed == 0
        if forget:
            self._forget(blocks)
        self._left(blocks)

    @invariant()
    def every_block_is_free_idle_or_held(self) -> None:
        self.manager.check()
        assert self.manager.available == self.count - len(self._held())

    @invariant()
    def a_block_of_two_tables_holds_the_same_for_both(self) -> None:
        seen: dict[int, Text] = {}
        for holder in self.open:
            held = [block for block in holder.table.blocks if block != GONE]
            assert len(set(held)) == len(held)
            for index, block in enumerate(holder.table.blocks):
                if block == GONE:
                    continue
                text = (holder.adapter, tuple(holder.tokens[: (index + 1) * BLOCK]))
                assert seen.setdefault(block, text) == text

    def teardown(self) -> None:
        for holder in self.open:
            self.manager.close(holder.table)
        self.manager.check()
        assert self.manager.available == self.count

    def _opened(self, holder: Holder) -> Holder:
        self.open.append(holder)
        return holder

    def _goes_on(self, full: list[Text], size: int) -> bool:
        """Whether all that is seen from `size` on can be found."""
        needed = (text for index, text in enumerate(full[: size // BLOCK]) if seen(self.window, index, size))
        return all(text in self.findable for text in needed) and self.share

    def _left(self, blocks: list[int]) -> None:
        held, named = self._held(), set(self.findable.values())
        self.idle += [block for block in reversed(blocks) if block not in held and block in named]

    def _held(self) -> set[int]:
        return {block for holder in self.open for block in holder.table.blocks if block != GONE}

    def _forget(self, blocks: list[int]) -> None:
        self.findable = {text: block for text, block in self.findable.items() if block not in blocks}


TestBlocks = BlocksMachine.TestCase
TestBlocks.settings = settings(max_examples=70, stateful_step_count=40, deadline=None)


def fill(manager: BlockManager, tokens: list[int], adapter: str | None = None) -> Table:
    """A table whose sequence has computed all of `tokens`."""
    table = manager.open(adapter, tokens)
    assert manager.extend(table, len(tokens))
    manager.seal(table, tokens, len(tokens))
    return table


def found(manager: BlockManager, tokens: list[int], adapter: str | None = None, *, aligned: int = 1) -> int:
    """How many positions of a prompt that goes on after `tokens` need not be computed."""
    table = manager.open(adapter, [*tokens, 99], aligned=aligned)
    positions = table.sealed
    manager.close(table)
    return positions


@pytest.mark.parametrize(("size", "expected"), [(1, 0), (31, 0), (32, 0), (33, 32), (64, 32), (65, 64), (96, 64)])
def test_the_last_token_of_a_known_prompt_is_left_to_compute(size: int, expected: int) -> None:
    manager = BlockManager(4)
    fill(manager, [5] * 96)
    assert manager.open(None, [5] * size).sealed == expected


@pytest.mark.parametrize(("aligned", "expected"), [(1, 9 * 32), (64, 8 * 32), (96, 9 * 32), (256, 256), (512, 0)])
def test_a_known_beginning_is_taken_in_whole_multiples(aligned: int, expected: int) -> None:
    manager = BlockManager(10)
    fill(manager, list(range(9 * BLOCK)))
    assert found(manager, list(range(9 * BLOCK)), aligned=aligned) == expected


def test_a_block_is_not_found_behind_another_beginning() -> None:
    manager = BlockManager(8)
    fill(manager, [1] * BLOCK + [2] * BLOCK)
    assert found(manager, [3] * BLOCK + [2] * BLOCK) == 0
    assert found(manager, [2] * BLOCK) == 0
    assert found(manager, [1] * BLOCK + [3] * BLOCK) == BLOCK


def test_an_adapter_does_not_find_what_another_computed() -> None:
    manager = BlockManager(8)
    fill(manager, [1] * BLOCK, None)
    assert found(manager, [1] * BLOCK, "handbook") == 0
    assert found(manager, [1] * BLOCK, "None") == 0
    assert found(manager, [1] * BLOCK, None) == BLOCK


def test_nothing_is_found_where_nothing_is_shared() -> None:
    manager = BlockManager(8, share=False)
    table = fill(manager, [1] * BLOCK)
    assert found(manager, [1] * BLOCK) == 0
    manager.close(table)
    assert found(manager, [1] * BLOCK) == 0


def test_a_block_that_is_not_full_is_not_found() -> None:
    manager = BlockManager(8)
    table = manager.open(None, [1] * 64)
    assert manager.extend(table, 64)
    manager.seal(table, [1] * 64, 63)
    assert found(manager, [1] * 64) == BLOCK


def test_the_longest_unused_block_goes_first() -> None:
    manager = BlockManager(3)
    for token in (1, 2, 3):
        manager.close(fill(manager, [token] * BLOCK))
    assert found(manager, [1] * BLOCK) == BLOCK  # used again: now the latest
    fill(manager, [4] * BLOCK)
    assert [found(manager, [token] * BLOCK) for token in (1, 2, 3)] == [BLOCK, 0, BLOCK]


def test_the_end_of_a_prompt_goes_before_its_beginning() -> None:
    manager = BlockManager(3)
    manager.close(fill(manager, [1] * 96))
    fill(manager, [2] * BLOCK)
    assert found(manager, [1] * 96) == 64


def test_free_blocks_are_taken_before_known_ones_are_lost() -> None:
    manager = BlockManager(4)
    manager.close(fill(manager, [1] * 64))
    fill(manager, [2] * 64)
    assert found(manager, [1] * 64) == 64


def test_what_is_forgotten_is_not_found_though_others_still_hold_it() -> None:
    manager = BlockManager(4)
    first = fill(manager, [1] * 64)
    second = manager.open(None, [1] * 65)
    assert second.blocks == first.blocks
    manager.close(first, forget=True)
    assert found(manager, [1] * 64) == 0
    assert manager.available == 2
    manager.close(second)
    assert found(manager, [1] * 64) == 0
    assert manager.available == 4
    manager.check()


def test_two_that_computed_the_same_beside_each_other_keep_their_own_blocks() -> None:
    manager = BlockManager(4)
    tables = [manager.open(None, [1] * 33) for _ in range(2)]
    for table in tables:
        assert manager.extend(table, 33)
    for table in tables:
        manager.seal(table, [1] * 33, 33)
    assert set(tables[0].blocks).isdisjoint(tables[1].blocks)
    for table in tables:
        manager.close(table)
        manager.check()
    assert manager.available == 4 and found(manager, [1] * BLOCK) == BLOCK


def test_too_few_blocks_change_nothing() -> None:
    manager = BlockManager(3)
    manager.close(fill(manager, [1] * 64))
    table = manager.open(None, [1] * 33)
    assert not manager.extend(table, 4 * BLOCK)
    assert len(table.blocks) == 1 and manager.available == 2 and found(manager, [1] * 64) == 64


def test_what_has_left_a_window_is_given_back_and_the_sinks_stay() -> None:
    manager = BlockManager(8, window=Window(40, sinks=4))
    table = fill(manager, list(range(8 * BLOCK)))
    held = list(table.blocks)
    manager.release(table, 8 * BLOCK)
    assert table.blocks == [held[0], *[GONE] * 5, *held[6:]]
    assert manager.available == 5
    manager.close(table)
    assert manager.available == 8


def test_a_prompt_goes_on_where_only_what_it_sees_is_known() -> None:
    manager, tokens = BlockManager(8, window=Window(40, sinks=4)), list(range(8 * BLOCK))
    table = fill(manager, tokens)
    manager.release(table, 8 * BLOCK)
    fill(manager, [7] * (4 * BLOCK))  # takes the place of what has left the window
    again = manager.open(None, [*tokens, 99])
    assert again.sealed == 8 * BLOCK and again.blocks == table.blocks
    assert found(manager, tokens[: 5 * BLOCK]) == 2 * BLOCK  # here the rest is seen, and not there any more
    assert manager.open(None, [5, *tokens[1:], 99]).blocks == []
