"""Decoding speed and time to the first token: our engine beside transformers.generate.

Same weights in float32, same prompt, greedy, same number of threads, in one process, runs in turn; our prompt lookup is
off, theirs is by default. Both must give the same tokens. Prints medians with the smallest and largest value, and the
ratio pair by pair.

    python benchmarks/decode.py                       # SmolLM2-135M-Instruct, fetched and converted
    python benchmarks/decode.py --model DIRECTORY     # any Hugging Face directory that we read
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import torch
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer

from genwerk.core.assets import KNOWN, fetch
from genwerk.core.progress import track
from genwerk.core.types import Sampling
from genwerk.inference.engine import Engine
from genwerk.models.gguf import convert_gguf


@dataclass(frozen=True)
class Run:
    """One timed answer: seconds to the first token, tokens per second after it, the tokens."""

    first: float
    rate: float
    tokens: tuple[int, ...]


class Clock(BaseStreamer):
    """Notes when transformers hands out the prompt and each token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def run_ours(engine: Engine, prompt: list[int], n_tokens: int) -> Run:
    times, tokens, start = [], [], time.perf_counter()
    for delta in engine.stream_ids(prompt, Sampling(max_tokens=n_tokens)):
        times.append(time.perf_counter())
        tokens.append(delta.token)
    return _run(start, times, tokens)


def run_theirs(model: torch.nn.Module, prompt: list[int], n_tokens: int) -> Run:
    clock, start = Clock(), time.perf_counter()
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=n_tokens, do_sample=False, streamer=clock
    )
    return _run(start, clock.times[1:], out[0, len(prompt) :].tolist())


def _run(start: float, times: Sequence[float], tokens: Sequence[int | None]) -> Run:
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else float("nan")
    return Run(times[0] - start, rate, tuple(token for token in tokens if token is not None))


def pairs(ours: Callable[[], Run], theirs: Callable[[], Run], count: int, label: str) -> list[tuple[Run, Run]]:
    """Run both `count` times in turn, each first every other time; one unmeasured pair before."""
    ours(), theirs()
    done = []
    with track(label, total=count, unit="pairs") as bar:
        for number in range(count):
            if number % 2:
                b, a = theirs(), ours()
            else:
                a, b = ours(), theirs()
            done.append((a, b))
            bar.advance(note=f"decode {a.rate:.1f} and {b.rate:.1f} tokens/s, first {a.first:.2f} and {b.first:.2f} s")
    return done


def spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def report(done: list[tuple[Run, Run]], prompt_tokens: int) -> None:
    same = all(a.tokens == b.tokens for a, b in done)
    rows = [("", "genwerk", "transformers", "ratio")]
    first = [[run.first for run in side] for side in zip(*done, strict=True)]
    rows.append(
        (
            f"first token at {prompt_tokens}, s",
            spread(first[0], ".2f"),
            spread(first[1], ".2f"),
            spread([b.first / a.first for a, b in done], ".2f"),
        )
    )
    if len(done[0][0].tokens) > 1:
        rate = [[run.rate for run in side] for side in zip(*done, strict=True)]
        rows.append(
            (
                f"decode {len(done[0][0].tokens)} tokens, tokens/s",
                spread(rate[0], ".1f"),
                spread(rate[1], ".1f"),
                spread([a.rate / b.rate for a, b in done], ".2f"),
            )
        )
    for row in rows:
        print("{:32s} {:>24s} {:>24s} {:>20s}".format(*row))
    print(f"same tokens: {'yes' if same else 'NO'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="Hugging Face directory; default: SmolLM2-135M-Instruct")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--long-prompt-tokens", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    ask = parser.parse_args()
    torch.set_num_threads(ask.threads)
    with tempfile.TemporaryDirectory() as scratch:
        path = ask.model
        if path is None:
            path, known = Path(scratch) / "smollm2-135m-instruct", KNOWN["smollm2-135m-instruct"]
            convert_gguf(fetch(known.spec, known.sha256), path)
        engine = Engine.load(path, share_prefixes=False, speculate=False)
        peer = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        prose = engine.tokenizer.encode("\n\n".join(topics[name] for name in sorted(topics)))
        for size, new in ((ask.prompt_tokens, ask.new_tokens), (ask.long_prompt_tokens, 1)):
            prompt = prose[:size]
            done = pairs(
                lambda prompt=prompt, new=new: run_ours(engine, prompt, new),
                lambda prompt=prompt, new=new: run_theirs(peer, prompt, new),
                ask.pairs,
                f"prompt {size}, answer {new}",
            )
            report(done, size)


if __name__ == "__main__":
    main()
