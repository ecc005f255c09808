"""Mixed load straight on an engine, and what must hold under it: right errors only, nothing stuck, lost or growing.

    arrivals   Poisson, `rate` per second; each request in a thread of its own, as in the server
    prompts    short ones, long ones of up to half the context, and ones that begin alike
    readers    a share leaves after some tokens, or before the first
    requests   a share is invalid in one of several ways and must be refused by name

Some of the finished answers are asked for again at the end, alone: they must have the same tokens.

Left out: the server's own limits (tests/serving measure those).
Try it:   python benchmarks/load.py --seconds 60
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from genwerk.core.config import Config, Field
from genwerk.core.errors import RequestError
from genwerk.core.resident import trim_heap
from genwerk.core.types import Message, Request, Sampling
from genwerk.inference.engine import Engine

__all__ = ["LoadConfig", "LoadReport", "run_load"]

_BEGINNING = "the cat sat on a mat and saw what no one had seen before it came home again "
_WORDS = tuple(_BEGINNING.split())


class LoadConfig(Config):
    """How much, for how long, and how mixed."""

    seconds: float = Field(600.0, gt=0, description="how long requests keep coming")
    rate: float = Field(4.0, gt=0, description="requests per second, on average")
    in_flight: int = Field(48, ge=1, description="requests at once; more are not sent, but counted")
    max_tokens: int = Field(48, ge=1, description="longest answer")
    long: float = Field(0.2, ge=0, le=1, description="share of long prompts")
    cancelled: float = Field(0.1, ge=0, le=1, description="share whose reader leaves early")
    invalid: float = Field(0.05, ge=0, le=1, description="share that must be refused")
    repeated: int = Field(12, ge=0, description="answers that are asked for again at the end")
    patience: float = Field(120.0, gt=0, description="seconds after the last arrival until an answer counts as stuck")
    seed: int = Field(0, description="of arrivals and requests")


@dataclass
class LoadReport:
    """What came of it. `sound` if nothing went wrong.

    outcomes   finished, cancelled, refused, and not sent because too many were in flight
    wrong      errors that should not have been, and refusals that did not come
    memory     MB resident at a quarter of the time and at its end
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    memory: tuple[float, float] = (0.0, 0.0)
    tokens: int = 0
    seconds: float = 0.0
    stuck: int = 0
    leaked: int = 0
    changed: int = 0

    @property
    def grown(self) -> float:
        """MB that were added after the first quarter."""
        return self.memory[1] - self.memory[0]

    @property
    def sound(self) -> bool:
        return not (self.wrong or self.stuck or self.leaked or self.changed)

    def lines(self) -> list[str]:
        """The report as text."""
        told = ", ".join(f"{count} {what}" for what, count in sorted(self.outcomes.items()))
        return [
            f"{sum(self.outcomes.values())} requests in {self.seconds:.0f} s: {told}",
            f"{self.tokens} tokens, {self.tokens / max(self.seconds, 1e-9):.1f} a second",
            f"first token   {_percentiles(self.first)}",
            f"between two   {_percentiles(self.gaps)}",
            f"memory        {self.memory[0]:.0f} MB after a quarter, {self.memory[1]:.0f} MB at the end",
            f"stuck {self.stuck}, blocks leaked {self.leaked}, answers that changed {self.changed}",
            *(f"wrong: {what} ({count} times)" for what, count in Counter(self.wrong).most_common()),
        ]


def run_load(engine: Engine, config: LoadConfig) -> LoadReport:
    """Put `engine` under load; returns when the last answer has ended or has lost its `patience`."""
    _fill_cache(engine)
    run = _Run(engine, config)
    began = time.perf_counter()
    early = run.arrivals(began)
    run.report.stuck = run.join(config.patience)
    run.report.seconds = time.perf_counter() - began
    run.report.memory = (early, _resident())
    if not run.report.stuck:
        run.settle()
    return run.report


class _Run:
    """One load in progress."""

    def __init__(self, engine: Engine, config: LoadConfig) -> None:
        self.engine, self.config, self.report = engine, config, LoadReport()
        self._chance = random.Random(config.seed)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._kept: list[tuple[Request, tuple[int, ...]]] = []

    def arrivals(self, began: float) -> float:
        """Send requests until the time is over. Returns the memory after a quarter of it."""
        config, number, early = self.config, 0, 0.0
        while (past := time.perf_counter() - began) < config.seconds:
            if not early and past >= config.seconds / 4:
                early = _resident()
            threading.Event().wait(min(self._chance.expovariate(config.rate), config.seconds))
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            number += 1
            if len(self._threads) >= config.in_flight:
                self._count("not sent")
                continue
            thread = threading.Thread(target=self._one, args=(random.Random(f"{config.seed} {number}"),), daemon=True)
            self._threads.append(thread)
            thread.start()
        return early or _resident()

    def join(self, patience: float) -> int:
        """Wait for all; returns how many did not end."""
        until = time.perf_counter() + patience
        for thread in self._threads:
            thread.join(max(0.0, until - time.perf_counter()))
        return sum(thread.is_alive() for thread in self._threads)

    def settle(self) -> None:
        """Nobody is served any more: nothing may be held, and answers come out again alone."""
        scheduler, blocks = self.engine.scheduler, self.engine.blocks
        self.report.leaked = blocks.count - blocks.available
        self.report.stuck = len(scheduler.running) + len(scheduler.waiting)
        blocks.check()
        for request, tokens in self._kept:
            self.report.changed += self.engine.generate(request).tokens != tokens

    def _one(self, chance: random.Random) -> None:
        try:
            if chance.random() < self.config.invalid:
                self._invalid(chance)
            else:
                self._valid(chance)
        except Exception as error:
            self._wrong(f"{type(error).__name__}: {error}")

    def _invalid(self, chance: random.Random) -> None:
        good = self._request(chance)
        request = chance.choice(
            [
                replace(good, messages=()),
                replace(good, messages=(Message("user", _BEGINNING * self.engine.max_context),)),
                replace(good, adapter="no such adapter"),
                replace(good, priority=10**6),
                replace(good, sampling=replace(good.sampling, temperature=-1.0)),
                replace(good, sampling=replace(good.sampling, max_tokens=0)),
                replace(good, sampling=replace(good.sampling, top_p=float("nan"))),
            ]
        )
        try:
            self.engine.generate(request)
        except RequestError:
            self._count("refused")
        else:
            self._wrong("an invalid request was answered")

    def _valid(self, chance: random.Random) -> None:
        request = self._request(chance)
        leaves = chance.randint(0, self.config.max_tokens) if chance.random() < self.config.cancelled else None
        stream = self.engine.stream(request)
        tokens: list[int] = []
        times, reason = [time.perf_counter()], None
        try:
            while leaves is None or len(tokens) < leaves:
                delta = next(stream, None)
                if delta is None:
                    break
                times.append(time.perf_counter())
                tokens += [] if delta.token is None else [delta.token]
                reason = delta.finish_reason
        finally:
            stream.close()
        self._finished(request, tuple(tokens), times, reason)

    def _finished(self, request: Request, tokens: tuple[int, ...], times: list[float], reason: str | None) -> None:
        with self._lock:
            report = self.report
            report.tokens += len(tokens)
            if len(times) > 1:
                report.first.append(times[1] - times[0])
            report.gaps += [after - before for before, after in pairwise(times[1:])]
            report.outcomes["finished" if reason else "cancelled"] += 1
            if reason and len(tokens) > request.sampling.max_tokens:
                report.wrong.append(f"{len(tokens)} tokens where {request.sampling.max_tokens} are the most")
            if reason and len(self._kept) < self.config.repeated:
                self._kept.append((request, tokens))

    def _request(self, chance: random.Random) -> Request:
        most = self.engine.max_context // 2
        length = chance.randint(most // 4, most) if chance.random() < self.config.long else chance.randint(4, 64)
        start = "" if chance.random() < 0.5 else _BEGINNING
        words = start + " ".join(chance.choice(_WORDS) for _ in range(length // 4))
        text = self.engine.tokenizer.decode(self.engine.tokenizer.encode(words)[:length]) or "the"
        sampling = Sampling(
            temperature=chance.choice([0.0, 0.7, 1.0]),
            seed=chance.randrange(1000),
            max_tokens=chance.randint(1, self.config.max_tokens),
            logprobs=chance.choice([None, None, 2]),
        )
        adapter = chance.choice([None, None, *self.engine.adapters])
        user, priority = chance.choice("abc"), chance.choice([0, 0, 0, -1, 3])
        return Request((Message("user", text),), sampling, adapter, user, priority=priority)

    def _count(self, what: str) -> None:
        with self._lock:
            self.report.outcomes[what] += 1

    def _wrong(self, what: str) -> None:
        with self._lock:
            self.report.wrong.append(what)
            self.report.outcomes["wrong"] += 1


def _fill_cache(engine: Engine) -> None:
    """Touch every block, so that memory that is taken for the first time is not mistaken for growth."""
    runner = engine.runner
    for block in range(engine.blocks.count):
        runner.write_blocks([block], runner.read_blocks([block]))


def _resident() -> float:
    """MB that this process holds in memory, without garbage and what the allocator keeps for later."""
    gc.collect()
    trim_heap()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _percentiles(seconds: Sequence[float]) -> str:
    if len(seconds) < 2:
        return "too few"
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    named = (("median", cuts[49]), ("95 %", cuts[94]), ("99 %", cuts[98]), ("most", max(seconds)))
    return ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in named)
