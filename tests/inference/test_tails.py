"""Blocks that are filled in part: shared until somebody writes, and then nobody reads what another wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from genwerk.core.types import Message, Request, Sampling, Several
from genwerk.inference.blocks import BlockManager, Copy, Table
from genwerk.inference.engine import Engine
from genwerk.inference.runner import BLOCK, Chunk
from genwerk.inference.several import generate_several

Cell = tuple[str | None, tuple[int, ...]]  # what a position holds: adapter, and all tokens up to it

ADAPTERS = (None, None, "handbook")


@dataclass(eq=False)
class Writer:
    """A table, and how many of its tokens are computed."""

    table: Table
    adapter: str | None
    tokens: list[int]
    computed: int = 0
    room: int = field(default=0)


class TailsMachine(RuleBasedStateMachine):
    """Beside the manager lie the blocks themselves: what every position holds, as steps and copies leave it."""

    writers: Bundle[Writer] = Bundle("writers")

    @initialize(count=st.integers(1, 12), share=st.sampled_from([True, True, True, False]))
    def begin(self, count: int, share: bool) -> None:
        self.manager, self.share = BlockManager(count, share=share), share
        self.cells: dict[int, list[Cell | None]] = {block: [None] * BLOCK for block in range(count)}
        self.open: list[Writer] = []

    @rule(target=writers, tokens=st.lists(st.integers(0, 1), min_size=1, max_size=5),
          repeat=st.sampled_from([1, 7, 16, BLOCK]), adapter=st.sampled_from(ADAPTERS))  # fmt: skip
    def open_a_table(self, tokens: list[int], repeat: int, adapter: str | None) -> Writer:
        return self._open([token for token in tokens for _ in range(repeat)], adapter)

    @rule(target=writers, other=writers, more=st.lists(st.integers(0, 1), min_size=1, max_size=3))
    def go_on_from_another(self, other: Writer, more: list[int]) -> Writer:
        """As beams do: what the other has computed, and tokens of its own."""
        return self._open([*other.tokens[: other.computed], *more], other.adapter)

    @rule(writer=writers, most=st.integers(1, 2 * BLOCK))
    def make_room(self, writer: Writer, most: int) -> None:
        writer.room = self._extend(writer, writer.computed + most)

    @rule(writer=writers, tokens=st.lists(st.integers(0, 1), min_size=1, max_size=BLOCK + 1))
    def compute(self, writer: Writer, tokens: list[int]) -> None:
        """As a step does: into the room there is, then sealed and noted."""
        wanted = writer.tokens[writer.computed :] or tokens
        stop = min(writer.computed + len(wanted), writer.room)
        if stop <= writer.computed:
            return
        writer.tokens = [*writer.tokens[: writer.computed], *wanted]
        for at in range(writer.computed, stop):
            cell = (writer.adapter, tuple(writer.tokens[: at + 1]))
            self.cells[writer.table.blocks[at // BLOCK]][at % BLOCK] = cell
        writer.computed = stop
        self.manager.seal(writer.table, writer.tokens[:stop], stop)
        if self.share:
            self.manager.note(writer.table, writer.tokens[writer.table.sealed : stop])

    @rule(writer=consumes(writers), forget=st.sampled_from([False, False, True]))
    def close(self, writer: Writer, forget: bool) -> None:
        self.manager.close(writer.table, forget=forget)
        self.open.remove(writer)
        assert writer.table.blocks == [] and writer.table.known == 0

    @rule(adapter=st.sampled_from(ADAPTERS))
    def forget_an_adapter(self, adapter: str | None) -> None:
        self.manager.forget(adapter)
        table = self.manager.open(adapter, [0] * 70)
        assert table.known == 0
        self.manager.close(table)

    @invariant()
    def every_block_is_in_one_place(self) -> None:
        self.manager.check()
        held = {block for writer in self.open for block in writer.table.blocks}
        assert self.manager.available == self.manager.count - len(held)

    @invariant()
    def everybody_reads_what_they_would_have_written(self) -> None:
        for writer in self.open:
            for at in range(writer.computed):
                held = self.cells[writer.table.blocks[at // BLOCK]][at % BLOCK]
                assert held == (writer.adapter, tuple(writer.tokens[: at + 1]))

    def teardown(self) -> None:
        for writer in self.open:
            self.manager.close(writer.table)
        self.manager.check()
        assert self.manager.available == self.manager.count

    def _open(self, tokens: list[int], adapter: str | None) -> Writer:
        table = self.manager.open(adapter, tokens)
        assert table.known < len(tokens) and (self.share or table.known == 0)
        writer = Writer(table, adapter, tokens, table.known)
        self.open.append(writer)
        return writer

    def _extend(self, writer: Writer, positions: int) -> int:
        """The room there is after asking for `positions`; a refusal changes nothing."""
        blocks, available = list(writer.table.blocks), self.manager.available
        if not self.manager.extend(writer.table, positions):
            assert writer.table.blocks == blocks and self.manager.available == available
            assert self.manager.take_copies() == []
            return writer.room
        for source, target in self.manager.take_copies():
            assert source != target
            self.cells[target] = list(self.cells[source])
        return max(writer.room, positions)


TestTails = TailsMachine.TestCase
TestTails.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


def fill(manager: BlockManager, tokens: list[int]) -> Table:
    """A table whose sequence has computed all of `tokens`."""
    table = manager.open(None, tokens)
    assert manager.extend(table, len(tokens))
    manager.seal(table, tokens, len(tokens))
    manager.note(table, tokens[table.sealed :])
    return table


def test_the_first_that_goes_on_takes_the_block_over_and_the_others_copy_it() -> None:
    manager = BlockManager(8)
    manager.close(parent := fill(manager, [1] * 40))
    block = manager.open(None, [1] * 41).blocks[1]
    del parent
    tables = [manager.open(None, [*[1] * 40, last]) for last in (2, 3)]
    assert [table.known for table in tables] == [40, 40] and {table.blocks[1] for table in tables} == {block}
    assert all(manager.extend(table, 41) for table in tables)
    copies = manager.take_copies()
    assert tables[0].blocks[1] == block and copies == [Copy(block, tables[1].blocks[1])]


def test_a_tail_that_goes_on_otherwise_is_read_as_far_as_it_is_the_same() -> None:
    manager = BlockManager(4)
    manager.close(fill(manager, [1] * 50))
    table = manager.open(None, [*[1] * 44, 2, 2])
    assert (table.sealed, table.known) == (32, 44)
    assert manager.extend(table, 46) and len(manager.take_copies()) == 1
    assert manager.open(None, [1] * 60).known == 50


def test_where_there_is_no_room_for_a_copy_it_writes_into_the_block_itself() -> None:
    manager = BlockManager(2)
    manager.close(fill(manager, [1] * 50))
    table = manager.open(None, [*[1] * 44, 2, 2])
    assert manager.extend(table, 46) and manager.take_copies() == []
    manager.check()
    manager.close(table)
    assert manager.open(None, [1] * 60).known == 44


def test_tails_give_way_before_full_blocks() -> None:
    manager = BlockManager(3)
    manager.close(fill(manager, [1] * 32))
    manager.close(fill(manager, [2] * 20))
    fill(manager, [3] * 60)
    assert manager.open(None, [1] * 33).known == 32
    assert manager.open(None, [2] * 33).known == 0


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, make_engine: Callable[..., Engine]) -> list[list[int]]:
    """How many tokens each chunk of each step had."""
    seen: list[list[int]] = []
    runner = type(make_engine().runner)
    step = runner.step

    def counted(self: object, chunks: list[Chunk]) -> object:
        seen.append([len(chunk.tokens) for chunk in chunks])
        return step(self, chunks)

    monkeypatch.setattr(runner, "step", counted)
    return seen


def ask(**sampling: object) -> Request:
    return Request((Message("user", "x" * 50),), Sampling(**{"max_tokens": 40, "logprobs": 2} | sampling))


def test_beams_and_several_answers_compute_each_position_once(
    make_engine: Callable[..., Engine], rows: list[list[int]]
) -> None:
    if make_engine().runner.aligned > 1:
        pytest.skip("where numbers depend on the cut, a block that is not full is computed again")
    searching = make_engine(share_prefixes=True, speculate=False)
    found = searching.generate(ask(beams=4))
    assert {size for step in rows[1:] for size in step} == {1}
    rows.clear()
    several = generate_several(make_engine(speculate=False), ask(temperature=1.0), Several(n=4))
    assert all(size == 1 for step in rows[1:] for size in step)
    plain = make_engine(share_prefixes=False, speculate=False)
    assert plain.generate(ask(beams=4)) == found
    assert generate_several(plain, ask(temperature=1.0), Several(n=4)) == several
    searching.blocks.check()
    assert searching.blocks.available == searching.blocks.count
