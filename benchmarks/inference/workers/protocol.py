"""What a worker of the benchmark is told and what it answers: one JSON line each way, on its standard streams.

    python llama_cpp.py '{"model": …}'                            the fields of Settings
    ← {"version": "0.3.36", …}                                    Hello, once it is ready
    → {"prompts": [[1, 2], [1, 3]], "new": 128, …}                Ask
    ← {"seconds": 1.9, "first": 0.1, "tokens": [[…], […]]}        Answer
    ← {"unsupported": "…"} or {"error": "…"}                      instead of it

A worker is a class with `Worker(settings)`, `hello` and `run(ask)`, and ends with `serve(Worker)`. It greedily draws
exactly `new` tokens after every prompt, end tokens or not. What a library prints goes to standard error, never between
the lines. This file needs the standard library alone: every peer has an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

__all__ = [
    "Answer", "Ask", "Clock", "Hello", "Settings", "UnsupportedError", "Worker", "common_prefix", "make_once", "serve",
]  # fmt: skip

WORTH_SHARING = 32  # tokens from which on a common prefix is read once


@dataclass(frozen=True)
class Settings:
    """model: the weights as a Hugging Face directory; gguf: the same as llama.cpp's file; folder: where the worker may
    keep what it makes of them; variant: its own name of the weights' format; positions: room for keys and values."""

    model: str
    gguf: str
    folder: str
    variant: str
    threads: int = 2
    positions: int = 10_240


@dataclass(frozen=True)
class Hello:
    """Who is ready. The sizes are told where they are known."""

    version: str
    weights_mb: float = 0.0
    cache_mb: float = 0.0


@dataclass(frozen=True)
class Ask:
    """All prompts at once. lookup: propose what the text said before; schema: hold answers to this JSON schema."""

    prompts: list[list[int]]
    new: int
    lookup: bool = False
    schema: str = ""


@dataclass(frozen=True)
class Answer:
    """Seconds for everything, seconds to the first token of any prompt, the drawn tokens of each prompt."""

    seconds: float
    first: float
    tokens: list[list[int]]


class UnsupportedError(Exception):
    """The engine has no such thing; the benchmark goes on without it."""


class Worker(Protocol):
    hello: Hello

    def run(self, ask: Ask) -> Answer: ...


class Clock:
    """Started when it is made; `tick` notes the first token, later calls nothing."""

    def __init__(self) -> None:
        self._start, self._first = time.perf_counter(), 0.0

    def tick(self) -> None:
        self._first = self._first or time.perf_counter()

    def answer(self, tokens: list[list[int]]) -> Answer:
        stop = time.perf_counter()
        return Answer(stop - self._start, (self._first or stop) - self._start, tokens)


def common_prefix(prompts: list[list[int]]) -> list[int]:
    """What several prompts begin with, if it is worth reading once; every prompt keeps a token of its own."""
    length = 0
    for tokens in zip(*(prompt[:-1] for prompt in prompts), strict=False):
        if len(set(tokens)) > 1:
            break
        length += 1
    return prompts[0][:length] if len(prompts) > 1 and length >= WORTH_SHARING else []


def make_once(place: Path, make: Callable[[Path], None]) -> Path:
    """`place`, made by `make(path)` if it is not there; it appears whole or not at all."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
            made = Path(scratch) / place.name
            make(made)
            made.rename(place)
    return place


def serve(make: Callable[[Settings], Worker]) -> None:
    """Answer line by line until standard input ends."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        worker = make(Settings(**json.loads(sys.argv[1])))
    except Exception as error:
        traceback.print_exc()
        lines.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        raise SystemExit(1) from None
    lines.write(json.dumps(asdict(worker.hello)) + "\n")
    for line in sys.stdin:
        lines.write(json.dumps(_reply(worker, Ask(**json.loads(line)))) + "\n")


def _reply(worker: Worker, ask: Ask) -> dict[str, object]:
    try:
        answer = worker.run(ask)
    except UnsupportedError as reason:
        return {"unsupported": str(reason)}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    if [len(tokens) for tokens in answer.tokens] != [ask.new] * len(ask.prompts):
        return {"error": f"{[len(tokens) for tokens in answer.tokens]} tokens instead of {ask.new} each"}
    return asdict(answer)
