"""The scheduler: every sequence ends, nobody waits too long, and each reads from its blocks what it wrote there."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.types import Sampling
from genwerk.inference.blocks import BlockManager
from genwerk.inference.runner import BLOCK
from genwerk.inference.sampler import make_generator
from genwerk.inference.scheduler import Scheduler, Slice
from genwerk.inference.sequence import Sequence
from genwerk.models.decoder_config import Window


def mix(before: int, token: int, cut: tuple[int, int] | None) -> int:
    """Stands for keys and values: a number that depends on all tokens before and, if told, on how they were cut."""
    return zlib.crc32(f"{before} {token} {cut}".encode())


@dataclass
class FakeModel:
    """Writes one number per position into the blocks, from the number it finds at the position before.

    words   the next token is one of so many
    """

    aligned: int
    words: int
    cells: dict[int, list[int]] = field(default_factory=dict)  # block -> its 32 positions

    def run(self, part: Slice) -> int:
        """The token after the slice."""
        sequence = part.sequence
        assert sequence.table is not None
        blocks, cut = sequence.table.blocks, None if self.aligned == 1 else (part.start, part.stop)
        at = part.start - 1
        cell = self.cells[blocks[at // BLOCK]][at % BLOCK] if part.start else self.root(sequence)
        for position, token in enumerate(sequence.tokens(part.start, part.stop), start=part.start):
            cell = mix(cell, token, cut)
            self.cells.setdefault(blocks[position // BLOCK], [-1] * BLOCK)[position % BLOCK] = cell
        return cell % self.words

    def held(self, sequence: Sequence, places: list[int]) -> list[int]:
        """What these positions of a sequence's blocks hold."""
        assert sequence.table is not None
        return [self.cells[sequence.table.blocks[at // BLOCK]][at % BLOCK] for at in places]

    def alone(self, sequence: Sequence, stop: int) -> list[int]:
        """What they would hold if there were no other sequence and nothing were cached."""
        cell, cells, size, step = self.root(sequence), [], len(sequence.prompt), self.aligned
        for at, token in enumerate(sequence.tokens(0, stop)):
            start = at // step * step
            cut = (start, min(size, start + step)) if at < size else (at, at + 1)
            cell = mix(cell, token, None if step == 1 else cut)
            cells.append(cell)
        return cells

    def root(self, sequence: Sequence) -> int:
        return zlib.crc32(repr(sequence.adapter).encode())


class Desk:
    """Runs steps as the engine does, and looks at every plan."""

    def __init__(
        self,
        blocks: int,
        *,
        max_rows: int = 64,
        max_sequences: int = 4,
        aligned: int = 1,
        words: int = 1000,
        share: bool = True,
        window: Window | None = None,
    ) -> None:
        self.blocks = BlockManager(blocks, share=share, window=window)
        self.scheduler = Scheduler(self.blocks, max_rows=max_rows, max_sequences=max_sequences, aligned=aligned)
        self.model = FakeModel(aligned, words)
        self.finished: list[Sequence] = []
        self.rows: list[int] = []

    def __repr__(self) -> str:
        one = self.scheduler
        return f"Desk({self.blocks.count}, {one.max_rows}, {one.max_sequences}, {one.aligned}, {self.blocks.window})"

    @property
    def live(self) -> list[Sequence]:
        return [*self.scheduler.running, *self.scheduler.waiting]

    def ask(
        self,
        prompt: list[int],
        limit: int = 1,
        user: str = "",
        adapter: str | None = None,
        after: int = 0,
        priority: int = 0,
    ) -> Sequence:
        """A new sequence; `after` tokens of its answer are already drawn."""
        sequence = Sequence(prompt, Sampling(), adapter, user, limit, make_generator(0), priority)
        sequence.drawn = [0] * after
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> list[Slice]:
        before = list(self.scheduler.running)
        plan = self.scheduler.plan()
        assert plan or not self.live, "somebody waits and nothing is done"
        for source, target in self.blocks.take_copies():
            self.model.cells[target] = list(self.model.cells[source])
        self._check(plan, before)
        tokens = [self.model.run(part) for part in plan]
        for part, token in zip(plan, tokens, strict=True):
            self.scheduler.commit(part)
            if part.stop == part.sequence.length:
                self._give(part.sequence, token)
        self.blocks.check()
        self.rows.append(sum(part.stop - part.start for part in plan))
        return plan

    def steps_until(self, done: Callable[[], bool], most: int) -> int:
        for count in range(most):
            if done():
                return count
            self.step()
        raise AssertionError(f"not done after {most} steps")

    def drain(self, most: int = 10_000) -> None:
        """Run to the end of all; nothing is held then."""
        self.steps_until(lambda: not self.live, most)
        assert self.blocks.available == self.blocks.count

    def _give(self, sequence: Sequence, token: int) -> None:
        sequence.drawn.append(token)
        if len(sequence.drawn) == sequence.limit:
            self.finished.append(sequence)
            self.scheduler.remove(sequence)

    def _check(self, plan: list[Slice], before: list[Sequence]) -> None:
        running, aligned = self.scheduler.running, self.scheduler.aligned
        assert sum(part.stop - part.start for part in plan) <= self.scheduler.max_rows
        assert len(running) <= self.scheduler.max_sequences
        assert len({id(part.sequence) for part in plan}) == len(plan)
        assert len({id(one) for one in self.live}) == len(self.live)
        assert [self._order(one) for one in running] == sorted(map(self._order, running))
        first = min(before, key=self._order, default=None)
        assert first is None or first in running or self._order(running[0]) < self._order(first), (
            "the first lost its blocks"
        )
        assert all(one.table is None and one.computed == 0 for one in self.scheduler.waiting)
        for part in plan:
            self._check_slice(part)
            if aligned > 1:
                check_cut(part, aligned)

    def _order(self, sequence: Sequence) -> tuple[int, int]:
        return self.scheduler._rank(sequence), sequence.arrival

    def _check_slice(self, part: Slice) -> None:
        sequence = part.sequence
        assert sequence in self.scheduler.running and sequence.table is not None
        assert part.start == sequence.computed < part.stop <= sequence.length
        assert part.stop <= len(sequence.table.blocks) * BLOCK
        written = set(sequence.table.blocks[part.start // BLOCK :])
        for other in self.scheduler.running:
            assert other is sequence or other.table is None or written.isdisjoint(other.table.blocks)
        unseen = range(0) if self.blocks.window is None else self.blocks.window.unseen(part.start)
        places, cells = [at for at in range(part.start) if at not in unseen], self.model.alone(sequence, part.start)
        assert self.model.held(sequence, places) == [cells[at] for at in places]


def check_cut(part: Slice, aligned: int) -> None:
    """A prompt is cut only at multiples of `aligned`; the answer is run token by token."""
    size = len(part.sequence.prompt)
    if part.start < size:
        assert part.start % aligned == 0 and part.stop == min(size, part.start + aligned)
    else:
        assert part.stop == part.start + 1


@dataclass(frozen=True)
class Job:
    """A sequence to come: at which step, and after how many more steps its reader goes away, if ever."""

    step: int
    zeros: int
    sevens: int
    limit: int
    user: str
    adapter: str | None
    leaves: int | None
    forget: bool
    priority: int

    @property
    def prompt(self) -> list[int]:
        return [0] * self.zeros + [7] * self.sevens


@dataclass(frozen=True)
class Load:
    """A desk and what comes to it."""

    desk: Desk
    jobs: list[Job]


@st.composite
def loads(draw: st.DrawFn) -> Load:
    """Few blocks for many, and prompts that begin alike, some of them like another's answer."""
    aligned = draw(st.sampled_from([1, 1, 64, 64, 256]))
    blocks = draw({1: st.integers(1, 7), 64: st.integers(3, 9), 256: st.integers(9, 20)}[aligned])
    desk = Desk(
        blocks,
        max_rows=draw(st.integers(1, 80)) if aligned == 1 else aligned + draw(st.integers(0, 20)),
        max_sequences=draw(st.integers(1, 6)),
        aligned=aligned,
        words=draw(st.sampled_from([1, 1000])),
        share=draw(st.sampled_from([True, True, True, False])),
        window=draw(st.sampled_from([None, None, Window(2), Window(40), Window(33, sinks=4)])),
    )
    bounded = desk.scheduler.room <= blocks * BLOCK  # then a text may be longer than the cache
    longest = blocks * BLOCK * (3 if bounded else 1)
    return Load(desk, draw(st.lists(jobs(longest, max(aligned, BLOCK)), min_size=4, max_size=10)))


@st.composite
def jobs(draw: st.DrawFn, positions: int, step: int) -> Job:
    """Prompts of about whole multiples of `step`, of which most begin with zeros."""
    size = draw(st.integers(0, positions // step)) * step + draw(st.integers(-6, 6))
    size = min(max(1, size), positions - 1)
    tail = min(size, draw(st.sampled_from([0, 0, 3, size])))
    return Job(
        step=draw(st.integers(0, 15)),
        zeros=size - tail,
        sevens=tail,
        limit=min(positions - size, draw(st.sampled_from([1, 20, 40, 70]))),
        user=draw(st.sampled_from("ab")),
        adapter=draw(st.sampled_from([None, None, None, "handbook"])),
        leaves=draw(st.sampled_from([None, None, None, 1, 8, 30])),
        forget=draw(st.booleans()),
        priority=draw(st.sampled_from([0, 0, 0, -1, 2, 1000])),
    )


@given(loads())
@settings(max_examples=250, deadline=None)
def test_every_sequence_ends_and_reads_only_what_it_would_have_computed_alone(load: Load) -> None:
    serve(load)


def test_the_oldest_goes_on_though_the_younger_one_beside_it_was_chosen_before() -> None:
    """It reads a long prompt, while the other waits for its next token, which comes first in a step."""
    window = Window(40)
    kept = {"user": "a", "adapter": None, "leaves": None, "forget": False, "priority": 0, "sevens": 0}
    jobs = [Job(step=0, zeros=1, limit=1, **kept) for _ in range(4)]
    jobs += [Job(step=1, zeros=129, limit=20, **kept), Job(step=0, zeros=256, limit=1, **kept)]
    serve(Load(Desk(6, max_rows=66, max_sequences=2, aligned=64, window=window), jobs))


def serve(load: Load) -> None:
    """Run all of it, looking at each step and at what comes out."""
    desk, asked, gone = load.desk, dict[int, Sequence](), set[int]()
    most = 60 + sum((len(job.prompt) + job.limit) * (len(load.jobs) + 1) for job in load.jobs)
    for now in range(most):
        for index, job in enumerate(load.jobs):
            if job.step == now:
                asked[index] = desk.ask(job.prompt, job.limit, job.user, job.adapter, priority=job.priority)
            elif job.leaves is not None and job.step + job.leaves == now and asked[index] in desk.live:
                desk.scheduler.remove(asked[index], forget=job.forget)
                gone.add(index)
        if now > 60 and not desk.live:
            break
        desk.step()
    assert not desk.live, "not all came to an end"
    assert desk.blocks.available == desk.blocks.count
    for index, sequence in asked.items():
        cells = desk.model.alone(sequence, sequence.length)
        size, stop = len(sequence.prompt), sequence.length
        assert sequence.drawn == [cells[at] % desk.model.words for at in range(size - 1, stop - 1)]
        assert index in gone or len(sequence.drawn) == sequence.limit


def test_the_oldest_takes_the_blocks_of_the_youngest() -> None:
    desk = Desk(6, share=False)
    old, middle, young = (desk.ask([token] * 60, 30) for token in (1, 2, 3))
    desk.steps_until(lambda: len(young.drawn) > 0 and len(desk.scheduler.running) < 3, 20)
    assert desk.scheduler.running == [old, middle] and desk.scheduler.waiting == [young]
    assert young.table is None and young.computed == 0
    desk.drain()
    assert desk.finished[0] is old


def test_the_youngest_gives_way_even_if_it_is_the_one_that_needs_room() -> None:
    desk = Desk(4, share=False)
    old, young = desk.ask([1] * 40, 80), desk.ask([2] * 60, 40)
    desk.steps_until(lambda: len(desk.scheduler.running) == 1 and len(young.drawn) > 0, 20)
    assert desk.scheduler.running == [old] and young.length == 65
    desk.drain()
    assert desk.finished == [old, young]


def test_a_sequence_that_gave_way_goes_on_where_it_was() -> None:
    desk = Desk(4, share=False)
    desk.ask([1] * 40, 80)
    young = desk.ask([2] * 60, 40)
    desk.steps_until(lambda: young in desk.scheduler.waiting and len(young.drawn) > 0, 20)
    said = list(young.drawn)
    desk.drain()
    assert young.drawn[: len(said)] == said and len(young.drawn) == 40


def test_a_sequence_that_gave_way_finds_its_own_blocks_again() -> None:
    desk = Desk(5)
    old, young = desk.ask([1] * 40, 40), desk.ask([2] * 64, 40)
    desk.steps_until(lambda: young in desk.scheduler.waiting and len(young.drawn) > 0, 40)
    desk.steps_until(lambda: old in desk.finished, 40)
    assert [part.start for part in desk.step()] == [64]
    desk.drain()


def test_drawn_tokens_are_not_replaced_by_the_same_tokens_read_as_a_prompt() -> None:
    """Where numbers depend on the cut, an answer that gave way must be run again as it was."""
    desk = Desk(5, max_rows=80, aligned=64, words=1)
    old, young = desk.ask([1] * 60, 20, "old"), desk.ask([0] * 63, 20, "young")
    desk.steps_until(lambda: young in desk.scheduler.waiting and len(young.drawn) > 0, 20)
    desk.ask([0] * 70, 10, "other")
    desk.steps_until(lambda: old in desk.finished, 20)
    assert young in desk.scheduler.waiting and young.length > 64
    desk.drain()


def test_a_prompt_that_begins_like_an_earlier_one_is_not_computed_twice() -> None:
    desk = Desk(8)
    desk.ask([1] * 70)
    desk.drain()
    first = sum(desk.rows)
    desk.ask([1] * 64 + [2] * 6)
    desk.drain()
    assert first == 70 and sum(desk.rows) - first == 6


def test_a_waiting_one_never_makes_a_running_one_give_way() -> None:
    desk = Desk(4, share=False)
    old = desk.ask([1] * 90, 20)
    desk.step()
    young = desk.ask([2] * 40, 5, "other")
    desk.steps_until(lambda: old in desk.finished, 30)
    assert young.drawn == []
    desk.drain()


def test_a_long_prompt_leaves_others_their_tokens() -> None:
    desk = Desk(40, max_rows=16, share=False)
    first = desk.ask([1] * 4, 40)
    desk.step()
    long = desk.ask([2] * 300, 1)
    steps = desk.steps_until(lambda: long in desk.finished, 30)
    assert len(first.drawn) == steps + 1 and steps == 20


def test_a_long_prompt_is_read_beside_an_answer_where_cuts_are_fixed() -> None:
    desk = Desk(40, max_rows=256, aligned=256, share=False)
    desk.ask([1] * 4, 200, "first")
    desk.step()
    long = desk.ask([2] * 300, 1, "second")
    assert desk.steps_until(lambda: long in desk.finished, 400) < 20


def test_a_long_prompt_is_read_though_short_ones_keep_coming() -> None:
    desk = Desk(40, max_rows=256, max_sequences=4, aligned=256, share=False)
    desk.ask([1] * 4, 8, "short")
    long = desk.ask([2] * 300, 1, "long")
    for _ in range(100):
        if len(desk.live) < 4:
            desk.ask([1] * 4, 8, "short")
        desk.step()
    assert long in desk.finished


def ask_often(desk: Desk, times: int, user: str) -> None:
    """So many requests of ten tokens that want five, no two alike."""
    for token in range(times):
        desk.ask([token] * 10, 5, user)


def test_who_asks_once_does_not_wait_for_all_of_who_asks_often() -> None:
    desk = Desk(40, max_sequences=2, share=False)
    ask_often(desk, 20, "often")
    desk.step()
    once = desk.ask([99] * 10, 5, "once")
    desk.steps_until(lambda: once in desk.finished, 100)
    assert len(desk.finished) <= 4
    desk.drain()


def test_who_was_away_gains_no_credit() -> None:
    desk = Desk(40, max_sequences=1, share=False)
    desk.ask([1] * 10, 5, "away")
    desk.drain()
    ask_often(desk, 40, "here")
    desk.steps_until(lambda: len(desk.finished) == 21, 300)
    ask_often(desk, 10, "away")
    desk.steps_until(lambda: len(desk.finished) == 31, 300)
    assert sum(one.user == "away" for one in desk.finished[21:]) in (4, 5, 6)


def test_who_was_alone_does_not_pay_for_it() -> None:
    desk = Desk(40, max_sequences=1, share=False)
    ask_often(desk, 30, "alone")
    desk.steps_until(lambda: len(desk.finished) == 20, 300)
    ask_often(desk, 30, "late")
    desk.steps_until(lambda: len(desk.finished) == 30, 300)
    assert sum(one.user == "alone" for one in desk.finished[20:]) in (4, 5, 6)
    desk.drain()


def test_tokens_and_not_requests_are_shared_among_users() -> None:
    desk = Desk(40, max_sequences=1, share=False)
    for token in range(20):
        desk.ask([token] * 100, 1, "long")
        desk.ask([token] * 10, 1, "short")
    desk.steps_until(lambda: sum(one.user == "short" for one in desk.finished) == 20, 300)
    assert sum(one.user == "long" for one in desk.finished) <= 3


def test_one_user_is_served_in_the_order_of_arrival() -> None:
    desk = Desk(40, max_sequences=2, share=False)
    asked = [desk.ask([token] * 10, 5) for token in range(6)]
    desk.drain()
    assert desk.finished == asked


@pytest.mark.parametrize("forget", [False, True])
def test_who_leaves_gives_all_back(forget: bool) -> None:
    desk = Desk(8)
    leaving, waiting = desk.ask([1] * 70, 10), desk.ask([2] * 200, 10)
    desk.steps_until(lambda: len(leaving.drawn) > 0, 10)
    for sequence in (leaving, waiting):
        desk.scheduler.remove(sequence, forget=forget)
        desk.blocks.check()
    assert desk.live == [] and desk.blocks.available == 8
    assert desk.step() == []
    assert desk.blocks.open(None, [1] * 70).sealed == (0 if forget else 64)


def test_one_that_is_gone_may_be_removed_again() -> None:
    desk = Desk(8)
    sequence = desk.ask([1] * 40)
    desk.drain()
    desk.scheduler.remove(sequence)
    assert desk.blocks.available == 8


@pytest.mark.parametrize("aligned", [1, 64])
def test_a_text_many_times_the_cache_is_read_and_goes_on_in_a_window(aligned: int) -> None:
    desk = Desk(10, max_rows=64, max_sequences=1, aligned=aligned, window=Window(96, sinks=4))
    assert desk.scheduler.room <= 10 * BLOCK
    long = desk.ask(list(range(2000)), 1500)
    desk.steps_until(lambda: len(long.drawn) > 1400, 5000)
    assert long.table is not None
    held = [block for block in long.table.blocks if block >= 0]
    assert len(held) <= 10 and long.table.blocks[0] == held[0] and len(long.table.blocks) > 100
    desk.drain()
