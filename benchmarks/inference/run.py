"""Inference beside its peers: each engine in a process and an environment of its own, runs in turn, same tokens asked.

    python benchmarks/inference/run.py                      # all peers
    python benchmarks/inference/run.py --peers llama_cpp    # one

The weights are SmolLM2-135M-Instruct's GGUF Q4_1 file. llama.cpp runs that very file; our int4 holds its layers without
loss, int8 and float32 are made of its values. Greedy, two threads, no prefix cache, no speculation. Per pair ours and
the peer's run follow each other, each first every other time. Prints medians with the smallest and largest value and
the ratio pair by pair.

A peer's environment is made once, below the cache folder; llama.cpp is compiled then, which takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from genwerk.core.assets import KNOWN, cache_directory, fetch
from genwerk.core.progress import say, track
from genwerk.models.gguf import convert_gguf
from genwerk.tokenizers.tokenizer import Tokenizer

HERE = Path(__file__).parent
PEERS = {"llama_cpp": ["llama-cpp-python==0.3.36", "numpy"]}
# Built for the processor as it describes itself, llama.cpp 0.3.36 ends with a segmentation fault on a virtual machine
# that lists AMX; so it is told which instructions to use. (Not yet seen to help.)
FLAGS = ("NATIVE=OFF", "AVX2=ON", "FMA=ON", "F16C=ON", "AVX512=ON", "AVX512_VBMI=ON", "AVX512_VNNI=ON")
OURS = ("float32", "int8", "int4")


@dataclass(frozen=True)
class Case:
    """So many tokens in, so many out."""

    prompt: int
    new: int


CASES = (Case(128, 128), Case(1024, 1))


class Worker:
    """An engine in a process of its own, which answers one line with one."""

    def __init__(self, python: str, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [python, str(HERE / script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, prompt: Sequence[int], new: int) -> dict[str, Any]:
        """first (s to the first token), rate (tokens/s after it), tokens, memory_mb."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompt": list(prompt), "new": new}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("an engine stopped: its words are above")
        return dict(json.loads(line))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def environment(peer: str) -> str:
    """The Python of a peer's own environment, made if it is not there."""
    folder = cache_directory() / "benchmarks" / peer
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(PEERS[peer])
    if not done.exists() or done.read_text() != wanted:
        say(f"installing {peer} into {folder}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        build = {"CMAKE_ARGS": " ".join(f"-DGGML_{flag}" for flag in FLAGS)}
        command = [str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", *PEERS[peer]]
        subprocess.run(command, check=True, env=os.environ | build)
        done.write_text(wanted)
    return str(python)


def compare(ours: Worker, theirs: Worker, prompt: Sequence[int], new: int, pairs: int, label: str) -> list[Any]:
    done = []
    ours.ask(prompt, new), theirs.ask(prompt, new)
    with track(label, total=pairs, unit="pairs") as bar:
        for number in range(pairs):
            if number % 2:
                b, a = theirs.ask(prompt, new), ours.ask(prompt, new)
            else:
                a, b = ours.ask(prompt, new), theirs.ask(prompt, new)
            done.append((a, b))
            bar.advance()
    return done


def spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def report(done: list[Any], case: Case, precision: str, peer: str) -> None:
    if case.new > 1:
        name, ours, theirs = "decode", [a["rate"] for a, _ in done], [b["rate"] for _, b in done]
    else:
        ours, theirs = ([case.prompt / pair[side]["first"] for pair in done] for side in (0, 1))
        name = "read prompt"
    ratio = [a / b for a, b in zip(ours, theirs, strict=True)]
    label = f"{name} {case.prompt}→{case.new}"
    print(f"{label:24s} {precision:8s} {spread(ours, '.1f'):>24s}  {peer} {spread(theirs, '.1f'):>24s}  "
          f"ratio {spread(ratio, '.2f')}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS), default=sorted(PEERS))
    parser.add_argument("--precisions", nargs="*", choices=OURS, default=list(OURS))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    known = KNOWN["smollm2-135m-instruct"]
    gguf = fetch(known.spec, known.sha256)
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        convert_gguf(gguf, model)
        ids = Tokenizer.load(model).encode("\n\n".join(topics[name] for name in sorted(topics)))
        for peer in chosen.peers:
            theirs = Worker(environment(peer), f"{peer}_worker.py", str(gguf), str(chosen.threads))
            for precision in chosen.precisions:
                ours = Worker(sys.executable, "genwerk_worker.py", str(model), precision, str(chosen.threads))
                for case in CASES:
                    label = f"{precision} and {peer}, {case.prompt} in, {case.new} out"
                    done = compare(ours, theirs, ids[: case.prompt], case.new, chosen.pairs, label)
                    report(done, case, precision, peer)
                memory = ours.ask(ids[:16], 1)["memory_mb"], theirs.ask(ids[:16], 1)["memory_mb"]
                print(f"{'resident memory, MB':24s} {precision:8s} {memory[0]:24.0f}  {peer} {memory[1]:24.0f}")
                ours.close()
            theirs.close()


if __name__ == "__main__":
    main()
