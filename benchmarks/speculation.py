"""Speculation beside plain decoding: prompt lookup, a draft model, and both, on the same engine and the same prompts.

    python benchmarks/speculation.py                       # SmolLM2-135M-Instruct, prompt lookup alone
    python benchmarks/speculation.py --draft DIRECTORY     # and a draft, made by `genwerk distill`

Prompts: prose to go on with, questions with passages to answer from, and text that is to be said again; from held-out
documents where --documents names a dataset directory, so that the draft has not seen them, else from the Python
reference. Greedy by default. Runs are taken in turn, forwards and backwards; one unmeasured round before. Prints tokens
per step of the target, tokens per second of decoding and the ratio to plain decoding, round by round: median with the
smallest and largest. All ways must give the same tokens.
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

from genwerk.core.assets import KNOWN, fetch
from genwerk.core.progress import track
from genwerk.core.types import Document, Message, Sampling
from genwerk.data.chat_examples import make_chat_examples
from genwerk.data.documents import load_documents
from genwerk.inference.backend import load_runner
from genwerk.inference.draft_model import DraftModel
from genwerk.inference.engine import Engine
from genwerk.inference.logits import Logits
from genwerk.inference.runner import Chunk
from genwerk.models.gguf import convert_gguf
from genwerk.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Run:
    """All prompts of a kind, `streams` at a time: seconds and steps after the first tokens, and the tokens."""

    seconds: float
    steps: int
    tokens: tuple[tuple[int, ...], ...]

    @property
    def decoded(self) -> int:
        return sum(len(answer) - 1 for answer in self.tokens)


def decode(engine: Engine, prompts: Sequence[Sequence[int]], sampling: Sampling, streams: int) -> Run:
    """Reading the prompts is not counted."""
    seconds, steps, answers = 0.0, [0], []
    step = engine.runner.step

    def counted(chunks: Sequence[Chunk]) -> Logits:
        steps[0] += 1
        return step(chunks)

    for start in range(0, len(prompts), streams):
        live = [engine.stream_ids(prompt, sampling) for prompt in prompts[start : start + streams]]
        said = [[next(stream).token] for stream in live]
        engine.runner.step = counted  # type: ignore[method-assign]
        begun = time.perf_counter()
        while live_now := [(stream, row) for stream, row in zip(live, said, strict=True) if row[-1] is not None]:
            for stream, row in live_now:
                delta = next(stream, None)
                row.append(None if delta is None else delta.token)
        seconds += time.perf_counter() - begun
        engine.runner.step = step  # type: ignore[method-assign]
        answers += [tuple(token for token in row if token is not None) for row in said]
    return Run(seconds, steps[0], tuple(answers))


def prompts_of(tokenizer: Tokenizer, documents: Sequence[Document], count: int) -> dict[str, list[list[int]]]:
    """By kind: token numbers of `count` prompts each."""
    chats = [example.messages[:-1] for example in make_chat_examples(documents, seed=3, limit=count)]
    prose = [tokenizer.encode(document.text)[:128] for document in documents if len(document.text) > 2000][:count]
    copied = [
        tokenizer.encode_chat([Message("user", f"Repeat this text word by word:\n\n{document.text[:600]}")])
        for document in documents
        if len(document.text) > 2000
    ][:count]
    return {"prose": prose, "answers": [tokenizer.encode_chat(chat) for chat in chats], "copying": copied}


def spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def measure(ways: dict[str, Callable[[], Run]], rounds: int, label: str) -> dict[str, list[Run]]:
    """All ways in turn, forwards and backwards, after one unmeasured round."""
    done: dict[str, list[Run]] = {name: [] for name in ways}
    with track(label, total=rounds, unit="rounds") as bar:
        for number in range(rounds + 1):
            for name in list(ways) if number % 2 else list(ways)[::-1]:
                run = ways[name]()
                if number:
                    done[name].append(run)
            bar.advance(1 if number else 0)
    return done


def report(kind: str, done: dict[str, list[Run]]) -> None:
    plain = done["plain"]
    for name, runs in done.items():
        steps = statistics.median(run.decoded / run.steps for run in runs)
        rate = spread([run.decoded / run.seconds for run in runs], ".1f")
        ratio = spread([one.seconds / run.seconds for one, run in zip(plain, runs, strict=True)], ".2f")
        same = "" if all(run.tokens == plain[0].tokens for run in runs) else "  OTHER TOKENS"
        print(f"{kind:10s} {name:8s} {steps:5.2f} tokens a step  {rate:>22s} tokens/s  ratio {ratio}{same}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="Hugging Face directory; default: SmolLM2-135M-Instruct")
    parser.add_argument("--draft", type=Path, help="directory of the draft")
    parser.add_argument("--documents", type=Path, help="dataset directory; held-out documents are taken")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=96)
    parser.add_argument("--streams", type=int, default=1, help="answers at a time")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kinds", nargs="*", default=["prose", "answers", "copying"])
    ask = parser.parse_args()
    torch.set_num_threads(ask.threads)
    with tempfile.TemporaryDirectory() as scratch:
        if ask.model is None:
            ask.model, known = Path(scratch) / "smollm2-135m-instruct", KNOWN["smollm2-135m-instruct"]
            convert_gguf(fetch(known.spec, known.sha256), ask.model)
        compare(ask)


def compare(ask: argparse.Namespace) -> None:
    tokenizer, engines = Tokenizer.load(ask.model), make_engines(ask)
    if ask.documents is None:
        documents = [Document.create(name, topics[name]) for name in sorted(topics)]
    else:
        documents = [one for one in load_documents(ask.documents) if one.metadata.get("split") == "heldout"]
    sampling = Sampling(max_tokens=ask.new_tokens, temperature=ask.temperature)
    for kind, prompts in prompts_of(tokenizer, documents, ask.prompts).items():
        if kind in ask.kinds:
            ways = {
                name: lambda engine=engine, prompts=prompts: decode(engine, prompts, sampling, ask.streams)
                for name, engine in engines.items()
            }
            report(kind, measure(ways, ask.rounds, kind))


def make_engines(ask: argparse.Namespace) -> dict[str, Engine]:
    """One runner for all: they take turns, and none keeps anything in the cache."""
    runner = load_runner(ask.model, precision=ask.precision, positions=1024 * (ask.streams + 1))
    tokenizer = Tokenizer.load(ask.model)
    options = {"name": "target", "share_prefixes": False}
    engines = {
        "plain": Engine(runner, tokenizer, speculate=False, **options),
        "lookup": Engine(runner, tokenizer, **options),
    }
    if ask.draft is None:
        print("no draft: `genwerk distill smollm2-135m-instruct --docs python:topics` makes one")
        return engines
    for name in ("draft", "both"):
        draft = DraftModel.load(ask.draft, runner, tokenizer)
        if draft is None:
            raise SystemExit("the native kernels are needed")
        draft.lookup = name == "both"
        engines[name] = Engine(runner, tokenizer, draft=draft, **options)
    sizes, times = (1, 2, 4, 8, 16, 32), draft.pace
    print(f"ms of a step with {sizes} rows: target", " ".join(f"{1000 * times.target(n):.1f}" for n in sizes),
          "draft", " ".join(f"{1000 * times.draft(n):.2f}" for n in sizes))  # fmt: skip
    return engines


if __name__ == "__main__":
    main()
