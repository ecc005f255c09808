"""Our engine beside its peers: the same weights, the same prompts, two threads, by turns. `make bench`

    run.py                                       everything, an hour and a half
    run.py --quick                               does everything work? one short turn each
    run.py --peers llama_cpp --precision int4    one peer, one precision
    run.py --peers none --scenarios growth       ours alone, as it grows
    run.py --scenarios single prefix --repeats 9
    run.py --peers vllm --precision int8 --across        our int8 beside a peer that holds float32 only

Every engine runs in a process and an environment of its own, which is made once below the cache folder; a peer that
cannot be installed or fails is left out, and that is said. Weights: SmolLM2-135M-Instruct's file of format Q4_1, which
our int4 and llama.cpp's Q4_1 hold without loss and all others are made of. Greedy; ours and the peer's turn follow each
other, each first every other time. Printed: medians with the smallest and largest value, ratios pair by pair, and every
bound with what was measured. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from pydoc_data.topics import topics

import alone
from contestant import Contestant, FailedError
from peers import PEERS, folder_of, install
from report import Pair, Results, line_of, line_of_starts, spread, verdicts
from scenarios import SCENARIOS, Scenario, Text, turns
from workers.protocol import Ask, Settings, UnsupportedError

from genwerk.core.assets import fetch
from genwerk.core.atomic import write_text
from genwerk.core.cache import cache_directory
from genwerk.core.progress import say, track
from genwerk.models.gguf import convert_gguf
from genwerk.tokenizers.tokenizer import Tokenizer

OURS = ("int8", "int4", "float32")
ALONE = ("bandwidth", "memory", "start", "form", "core", "growth")
MODEL = "smollm2-135m-instruct"
PAUSE = 0.3  # seconds in which the threads of the one that ran go to sleep


class Benchmark:
    """One run with its options; `results` grows as it goes on."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.results = options, Results()
        self._new = 32 if options.quick else 128
        self._turns = 1 if options.quick else options.repeats
        self._gguf = fetch(MODEL)
        self._model = cache_directory() / "benchmarks" / "models" / MODEL
        if not (self._model / "config.json").exists():
            convert_gguf(self._gguf, self._model)
        self._text = Text(Tokenizer.load(self._model).encode("\n\n".join(topics[name] for name in sorted(topics))))

    def keep(self) -> None:
        """Writes what was measured so far."""
        write_text(self.options.json, json.dumps(asdict(self.results), indent=1))

    def run(self) -> None:
        if "bandwidth" in self.options.scenarios:
            self.results.bandwidth = alone.read_memory_gb_per_second(self.options.threads)
            print(f"memory is read at {spread(self.results.bandwidth)} GB/s by {self.options.threads} threads")
        for precision in self.options.precision:
            self._ours_alone(precision)
        pythons = dict(self._installed())
        for precision in self.options.precision:
            self._beside_peers(precision, pythons)

    def _ours(self, precision: str, positions: int = Settings.positions) -> Contestant:
        title = f"genwerk {precision}"
        return Contestant(title, sys.executable, "genwerk_native.py", self._settings("genwerk", precision, positions))

    def _settings(self, name: str, variant: str, positions: int = Settings.positions) -> Settings:
        folder = folder_of(name) / "weights"
        return Settings(str(self._model), str(self._gguf), str(folder), variant, self.options.threads, positions)

    def _ours_alone(self, precision: str) -> None:
        scenarios, results = self.options.scenarios, self.results
        if "memory" in scenarios:
            alone.start(self._model, precision, 0, self.options.threads)  # packs the weights, which takes PyTorch
            with self._ours(precision, alone.POSITIONS_WEIGHED) as ours:
                results.memory[precision] = alone.weigh(ours, self._text, self._new)
        if "start" in scenarios:
            starts = alone.start(self._model, precision, self._turns, self.options.threads)
            results.starts[precision] = starts
            print(f"{precision}: {line_of_starts(starts)}")
        if "form" in scenarios:
            with self._ours(precision) as ours:
                held = alone.hold_to_a_form(ours, self._text, self._new, self._turns)
            results.held[precision] = held
            free, bound = [turn.free for turn in held], [turn.held for turn in held]
            print(f"{precision}: free {spread(free)}, held to a JSON schema {spread(bound)} tokens/s")
        if "core" in scenarios:
            with self._ours(precision) as ours:
                results.shared[precision] = alone.share_a_core(ours, self._text, self._new, self._turns)
            for turn in results.shared[precision]:
                print(f"{precision}: {turn.scenario} {turn.alone:.1f}, a core taken {turn.taken:.1f} tokens/s")
        if "growth" in scenarios:
            with self._ours(precision, alone.POSITIONS_GROWN) as ours:
                growth = results.growth[precision] = alone.grow(ours, self._text, self._new, min(3, self._turns))
            for what, curve in (("requests together", growth.batch), ("tokens before", growth.context)):
                for size, rates in curve.items():
                    print(f"{precision}: {size:5d} {what:20s}{spread(rates):>28s} tokens/s", flush=True)

    def _installed(self) -> Iterator[tuple[str, str]]:
        for name in self.options.peers:
            try:
                yield name, install(name)
            except FailedError as reason:
                self._leave_out(PEERS[name].title, reason)

    def _beside_peers(self, precision: str, pythons: dict[str, str]) -> None:
        asked = {name: SCENARIOS[name] for name in self.options.scenarios if name in SCENARIOS}
        contests = [
            (name, variant)
            for name in pythons
            for variant, equal in PEERS[name].variants.items()
            if (equal == precision or self.options.across) and asked
        ]
        if not contests:
            return
        with self._ours(precision) as ours:
            self.results.weights_mb[precision] = ours.hello.weights_mb
            for name, variant in contests:
                title = f"{PEERS[name].title} {variant}"
                say(f"starting {title}; the first time it makes its file of the weights")
                try:
                    settings = self._settings(name, variant)
                    with Contestant(title, pythons[name], PEERS[name].worker, settings) as theirs:
                        self._contest(precision, ours, theirs, asked)
                except FailedError as reason:
                    self._leave_out(title, reason)

    def _contest(self, precision: str, ours: Contestant, theirs: Contestant, asked: dict[str, Scenario]) -> None:
        warm = Ask([self._text.cut(64, "warm", number) for number in range(2)], 8)
        ours.ask(warm), theirs.ask(warm)
        for name, scenario in asked.items():
            try:
                pairs = list(self._pairs(name, scenario, precision, ours, theirs))
            except UnsupportedError as reason:
                print(f"{scenario.title:40s} {theirs.title}: {reason}", flush=True)
                continue
            self.results.pairs += pairs
            print(line_of(pairs), flush=True)
            self.keep()
            if name == "sixteen":  # before a lookup, for which some engines load their weights again
                resident = {engine.title: engine.resident_mb() for engine in (ours, theirs)}
                self.results.resident_mb |= resident
                print("resident memory: " + ", ".join(f"{title} {size:.0f} MB" for title, size in resident.items()))

    def _pairs(
        self, name: str, scenario: Scenario, precision: str, ours: Contestant, theirs: Contestant
    ) -> Iterator[Pair]:
        with track(f"{theirs.title}: {scenario.title}", total=self._turns, unit="pairs") as bar:
            for turn in turns(self._turns, least=3, seconds=self.options.seconds):
                ask, figures = scenario.ask(self._text, turn, self._new), {}
                for engine in (ours, theirs) if turn % 2 else (theirs, ours):
                    time.sleep(PAUSE)
                    figures[engine.title] = scenario.figure(ask, engine.ask(ask))
                pair = Pair(name, theirs.title, precision, figures[ours.title], figures[theirs.title])
                bar.advance(note=f"{pair.ours:.1f} and {pair.theirs:.1f} {scenario.unit}")
                yield pair

    def _leave_out(self, title: str, reason: FailedError) -> None:
        self.results.left_out[title] = str(reason)
        print(f"LEFT OUT: {title}: {reason}", flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    every = [*SCENARIOS, *ALONE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", choices=[*PEERS, "none"], default=list(PEERS), help="which; default: all")
    parser.add_argument("--scenarios", nargs="+", choices=every, default=every, help="which; default: all")
    parser.add_argument("--precision", nargs="+", choices=OURS, default=list(OURS), help="of ours; default: all")
    parser.add_argument("--across", action="store_true", help="beside peers' formats of any precision, not of the same")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of turns per figure; default: 5")
    parser.add_argument(
        "--seconds", type=float, default=60, help="after which a figure has enough with three pairs; default: 60"
    )
    parser.add_argument("--threads", type=int, default=2, help="of every engine; default: 2")
    parser.add_argument("--quick", action="store_true", help="one turn each, a quarter of the tokens; proves nothing")
    where = cache_directory() / "benchmarks" / "inference.json"
    parser.add_argument("--json", type=Path, default=where, help="where the results go; default: %(default)s")
    options = parser.parse_args(arguments)
    options.peers = [name for name in options.peers if name != "none"]
    return options


def main() -> None:
    options = parse()
    benchmark = Benchmark(options)
    try:
        benchmark.run()
    finally:
        benchmark.keep()
    print("\nbounds" + (", of a quick run that proves nothing" if options.quick else ""))
    for line in verdicts(benchmark.results):
        print(line)
    for title, reason in benchmark.results.left_out.items():
        print(f"left out: {title}: {reason}")
    print(f"\nresults are in {options.json}; python {Path(__file__).parent / 'draw.py'} draws the growth")


if __name__ == "__main__":
    main()
