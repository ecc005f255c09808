"""What was measured, and what it says about each bound."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from alone import Growth, Held, Memory, Shared, Start
from scenarios import SCENARIOS

__all__ = ["BOUNDS", "Pair", "Results", "line_of", "line_of_starts", "spread", "verdicts"]

DEFAULT = "int8"  # the precision that stands beside all peers


@dataclass(frozen=True)
class Pair:
    """One turn of ours and one of a peer's, which ask the same."""

    scenario: str
    peer: str
    precision: str
    ours: float
    theirs: float


@dataclass
class Results:
    """All that a run measured; by our precision where it is of ours alone. left_out: peer → why."""

    pairs: list[Pair] = field(default_factory=list)
    resident_mb: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    bandwidth: list[float] = field(default_factory=list)
    weights_mb: dict[str, float] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    starts: dict[str, list[Start]] = field(default_factory=dict)
    held: dict[str, list[Held]] = field(default_factory=dict)
    shared: dict[str, list[Shared]] = field(default_factory=dict)
    growth: dict[str, Growth] = field(default_factory=dict)

    def ours(self, scenario: str, precision: str) -> list[float]:
        return [pair.ours for pair in self.pairs if (pair.scenario, pair.precision) == (scenario, precision)]

    def of(self, scenario: str, peer: str) -> list[Pair]:
        return [pair for pair in self.pairs if (pair.scenario, pair.peer) == (scenario, peer)]

    def best(self, scenario: str, wanted: Callable[[Pair], bool]) -> str | None:
        """The peer with the highest median among the pairs that are `wanted`."""
        peers = {pair.peer for pair in self.pairs if pair.scenario == scenario and wanted(pair)}
        return max(peers, key=lambda peer: _median([pair.theirs for pair in self.of(scenario, peer)]), default=None)


@dataclass(frozen=True)
class Bound:
    """Ours beside the best peer: `factor` times as fast. precision None: ours in the default one beside all peers."""

    number: int
    scenario: str
    factor: float
    precision: str | None = None
    peer: str = ""

    def wants(self, pair: Pair) -> bool:
        return self.precision in (None, pair.precision) and pair.peer.startswith(self.peer)


BOUNDS = (
    Bound(1, "single", 1.25, "int8"),
    Bound(1, "single", 1.1, "int4", "llama.cpp Q4_0"),
    Bound(2, "prompt", 1.5),
    Bound(3, "sixteen", 2.0),
    Bound(3, "eight", 1.7),
    Bound(4, "prefix", 2.0),
    Bound(5, "copying", 1.3, "int8"),
    Bound(5, "copying", 1.3, "int4"),
)
SHARE_OF_BANDWIDTH = 0.6
SHARE_OF_CORES = 0.75  # of two cores one whole and half of the other
BESIDE_MB = 250.0
SECONDS_TO_FIRST_TOKEN = 1.0
SLOWER_IN_A_FORM = 0.05


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """Median (smallest–largest)."""
    return f"{_median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def line_of(pairs: Sequence[Pair]) -> str:
    """A line of the table: what was asked, ours, the peer's, ratio pair by pair."""
    first, scenario = pairs[0], SCENARIOS[pairs[0].scenario]
    ours, theirs = [pair.ours for pair in pairs], [pair.theirs for pair in pairs]
    ratio = [pair.ours / pair.theirs for pair in pairs]
    return (
        f"{scenario.title:40s} ours {first.precision:8s}{spread(ours):>24s}   {first.peer:20s}{spread(theirs):>24s}"
        f"   ratio {spread(ratio, '.2f')}"
    )


def line_of_starts(starts: Sequence[Start]) -> str:
    """How long a start takes to its first token, and where the time goes."""
    whole = spread([one.first_token for one in starts], ".2f")
    parts = {
        "imports": [one.imports for one in starts],
        "load": [one.load for one in starts],
        "token": [one.token for one in starts],
    }
    split = ", ".join(f"{what} {spread(seconds, '.2f')}" for what, seconds in parts.items())
    return f"first token {whole} s after a start, of which {split}"


def verdicts(results: Results) -> Iterator[str]:
    """Every bound with what was measured of it: holds, falls short and by how much, or not measured."""
    for bound in BOUNDS:
        yield _beside_peers(results, bound)
    for precision, megabytes in results.weights_mb.items():
        if results.bandwidth and (rates := results.ours("single", precision)):
            share = _median(rates) * megabytes / 1e3 / _median(results.bandwidth)
            what = f"share of {spread(results.bandwidth)} GB/s that decoding reads, {precision}"
            yield _line(1, what, share, SHARE_OF_BANDWIDTH)
    for precision, shared in results.shared.items():
        for scenario in ("single", "sixteen"):
            left = [turn.taken / turn.alone for turn in shared if turn.scenario == scenario]
            what = f"{SCENARIOS[scenario].title}, a core taken, share of its speed, {precision}"
            yield _line(6, what, _median(left), SHARE_OF_CORES)
    for precision, memory in results.memory.items():
        what = f"MB beside weights {memory.weights:.0f} and cache {memory.cache:.0f}, {precision}"
        yield _line(7, what, memory.beside, BESIDE_MB, most=True)
    for precision, starts in results.starts.items():
        what = f"s from a start to the first token, {precision}"
        yield _line(None, what, _median([one.first_token for one in starts]), SECONDS_TO_FIRST_TOKEN, most=True)
    for precision, held in results.held.items():
        slower = _median([1 - turn.held / turn.free for turn in held])
        yield _line(8, f"slower when held to a JSON schema, {precision}", slower, SLOWER_IN_A_FORM, most=True)


def _beside_peers(results: Results, bound: Bound) -> str:
    title = SCENARIOS[bound.scenario].title
    ours = results.ours(bound.scenario, bound.precision or DEFAULT)
    peer = results.best(bound.scenario, bound.wants)
    if not ours or peer is None:
        return f"{bound.number}  {title}, {bound.precision or DEFAULT}: not measured"
    pairs = results.of(bound.scenario, peer)
    theirs = _median([pair.theirs for pair in pairs])
    paired = pairs[0].precision == (bound.precision or DEFAULT)
    ratio = _median([pair.ours / pair.theirs for pair in pairs]) if paired else _median(ours) / theirs
    what = f"{title}, {bound.precision or DEFAULT} {_median(ours):.1f} beside {peer} {theirs:.1f}, ratio"
    return _line(bound.number, what + ("" if paired else " of medians"), ratio, bound.factor)


def _line(number: int | None, what: str, value: float, bound: float, *, most: bool = False) -> str:
    """number: of the bound, where it has one; most: the bound is the largest allowed value, not the smallest."""
    good = value <= bound if most else value >= bound
    wanted = f"wanted {'at most' if most else 'at least'} {bound:g}"
    by = f"{abs(value - bound):.2f}" if most else f"{1 - value / bound:.0%}"
    return f"{number or '-'}  {what}: {value:.2f}, {wanted}: " + ("holds" if good else f"falls short by {by}")
