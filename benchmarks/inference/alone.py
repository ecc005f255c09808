"""What is measured of ours without a peer: memory, starts, answers held to a form, the memory's speed, growth."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from contestant import Contestant, FailedError
from scenarios import SCENARIOS, Text, together, turns
from workers.protocol import Ask

from genwerk.core.progress import track

__all__ = [
    "Growth", "Held", "Memory", "Shared", "Start", "grow", "hold_to_a_form", "read_memory_gb_per_second",
    "share_a_core", "start", "weigh",
]  # fmt: skip

BATCHES = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = (128, 256, 512, 1024, 2048, 4096, 8192)
POSITIONS_WEIGHED = 16 * (128 + 128)
POSITIONS_GROWN = 64 * (128 + 128)
STARTED = Path(__file__).parent / "workers" / "first_token.py"
# A list that may not end soon, of texts that may be anything: the form never runs out before the tokens do.
SCHEMA = json.dumps({"type": "array", "items": {"type": "string"}, "minItems": 1000})


@dataclass(frozen=True)
class Memory:
    """Megabytes after 16 requests that fill the cache."""

    resident: float
    weights: float
    cache: float

    @property
    def beside(self) -> float:
        """What is neither weights nor cache."""
        return self.resident - self.weights - self.cache


@dataclass(frozen=True)
class Held:
    """Tokens per second of one turn, free and held to a JSON schema, as many tokens each."""

    free: float
    held: float


@dataclass(frozen=True)
class Shared:
    """Tokens per second of one turn, alone on the machine and while another process computes on one core."""

    scenario: str
    alone: float
    taken: float


@dataclass(frozen=True)
class Start:
    """Seconds from starting a process to its first token, weights packed before; and those of its parts: importing the
    engine and all it needs, loading the model, computing a prompt and the token."""

    first_token: float
    imports: float
    load: float
    token: float


@dataclass(frozen=True)
class Growth:
    """Tokens per second: of so many requests together (prompts included), and of one stream after so many tokens."""

    batch: dict[int, list[float]]
    context: dict[int, list[float]]


def weigh(ours: Contestant, text: Text, new: int) -> Memory:
    """`ours` was started with room for POSITIONS_WEIGHED."""
    ours.ask(together(16)(text, 0, new))
    return Memory(ours.resident_mb(), ours.hello.weights_mb, ours.hello.cache_mb)


def start(model: Path, precision: str, count: int, threads: int) -> list[Start]:
    """Processes one after the other; the very first packs the weights and is not counted. Raises FailedError."""
    command = [sys.executable, STARTED, model, precision]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = []
    with track(f"starts, {precision}", total=count + 1, unit="processes") as bar:
        for _ in range(count + 1):
            began = time.perf_counter()
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
                assert process.stdout is not None
                line = process.stdout.readline()
                whole = time.perf_counter() - began
            if not line:
                raise FailedError(f"a start in {precision} ended with status {process.returncode}; why stands above")
            done.append(Start(whole, **json.loads(line)))
            bar.advance()
    return done[1:]


def hold_to_a_form(ours: Contestant, text: Text, new: int, pairs: int) -> list[Held]:
    """Free and held by turns, each first every other time."""
    done = []
    with track(f"{ours.title}, held to a JSON schema", total=pairs, unit="pairs") as bar:
        for turn in range(pairs):
            prompt, rates = text.cut(128, "form", turn), {}
            for schema in ("", SCHEMA) if turn % 2 else (SCHEMA, ""):
                answer = ours.ask(Ask([prompt], new, schema=schema))
                rates[schema] = (new - 1) / (answer.seconds - answer.first)
            done.append(Held(rates[""], rates[SCHEMA]))
            bar.advance()
    return done


def share_a_core(ours: Contestant, text: Text, new: int, pairs: int) -> list[Shared]:
    """Alone and with a core taken by turns, each first every other time; one stream and sixteen."""
    done = []
    names = ("single", "sixteen")
    with track(f"{ours.title}, a core taken", total=pairs * len(names), unit="pairs") as bar:
        for name in names:
            for turn in range(pairs):
                ask, rates = SCENARIOS[name].ask(text, turn, new), {}
                for taken in (False, True) if turn % 2 else (True, False):
                    with taken_core() if taken else nullcontext():
                        rates[taken] = SCENARIOS[name].figure(ask, ours.ask(ask))
                done.append(Shared(name, rates[False], rates[True]))
                bar.advance(note=f"{rates[False]:.1f} and {rates[True]:.1f} tokens/s")
    return done


def grow(ours: Contestant, text: Text, new: int, most: int) -> Growth:
    """`ours` was started with room for POSITIONS_GROWN. A third turn only where two take less than two minutes."""
    growth = Growth({size: [] for size in BATCHES}, {size: [] for size in CONTEXTS})
    with track(f"{ours.title}, growth", total=most * (len(BATCHES) + len(CONTEXTS)), unit="asks") as bar:
        for turn in turns(most, least=2, seconds=120):
            for size in BATCHES:
                answer = ours.ask(together(size)(text, turn, new))
                growth.batch[size].append(size * new / answer.seconds)
                bar.advance(note=f"{size} requests: {growth.batch[size][-1]:.0f} tokens/s")
            for size in CONTEXTS:
                ask = Ask([text.cut(size - min(32, new), "context", turn)], min(32, new))
                answer = ours.ask(ask)
                growth.context[size].append((ask.new - 1) / (answer.seconds - answer.first))
                bar.advance(note=f"after {size} tokens: {growth.context[size][-1]:.0f} tokens/s")
    return growth


def read_memory_gb_per_second(threads: int, times: int = 5, megabytes: int = 512) -> list[float]:
    """How fast memory can be read: every thread looks through a piece of its own for a byte that is not there."""
    library = ctypes.CDLL(None)
    library.memchr.argtypes, library.memchr.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
    size = megabytes * 2**20 // threads
    pieces = [ctypes.create_string_buffer(size) for _ in range(threads)]
    for piece in pieces:
        ctypes.memset(piece, 1, size)
    work = [lambda piece=piece: library.memchr(piece, 0, size) for piece in pieces]
    return [size * threads / _seconds_of(work) / 1e9 for _ in range(times)]


def _seconds_of(work: Sequence[Callable[[], object]]) -> float:
    workers = [threading.Thread(target=part) for part in work]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


@contextmanager
def taken_core() -> Iterator[None]:
    """Another process computes without pause on the last core while the block runs."""
    core = max(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, [{core}])\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()
