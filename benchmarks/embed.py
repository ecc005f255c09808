"""Embedding speed: our encoder in float32 and in int16 beside sentence-transformers in float32, same weights and texts.

Runs in turn in one process with the same number of threads; prints texts per second, the ratio to sentence-transformers
round by round, and how near the vectors are to its vectors.

    python benchmarks/embed.py                    # MiniLM over 512 passages of the Python language reference
    python benchmarks/embed.py --texts 64 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pydoc_data.topics import topics

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from genwerk.core.assets import KNOWN, fetch
from genwerk.core.types import Document
from genwerk.retrieval.chunking import Limits, RecursiveChunker
from genwerk.retrieval.embedding import Embedder

PEER = "sentence-transformers"
Run = Callable[[Sequence[str]], np.ndarray]


def passages(count: int, embedder: Embedder) -> list[str]:
    """Chunks of the language reference, as the index cuts them: none is longer than the window."""
    chunker = RecursiveChunker(Limits(count_tokens=embedder.count_tokens, max_tokens=embedder.window))
    found: list[str] = []
    for name, text in sorted(topics.items()):
        found += [text[chunk.start : chunk.end] for chunk in chunker.chunk(Document.create(f"{name}.rst", text))]
    if len(found) < count:
        print(f"only {len(found)} passages are there; all are used")
    return found[:: max(1, len(found) // count)][:count]


def timed(run: Run, texts: Sequence[str]) -> float:
    start = time.perf_counter()
    run(texts)
    return len(texts) / (time.perf_counter() - start)


def spread(values: Sequence[float], form: str) -> str:
    middle, low, high = (format(value, form) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    path = fetch(KNOWN["minilm"].spec, KNOWN["minilm"].sha256)
    exact, rounded = Embedder.load(path, "float32"), Embedder.load(path, "int16")
    theirs = SentenceTransformer(str(path), device="cpu")
    texts = passages(chosen.texts, exact)

    def run_theirs(batch: Sequence[str]) -> np.ndarray:
        return np.asarray(theirs.encode(list(batch), batch_size=chosen.batch, normalize_embeddings=True))

    runs: dict[str, Run] = {
        "genwerk float32": exact.embed, f"genwerk {rounded.precision}": rounded.embed, PEER: run_theirs,
    }  # fmt: skip
    rates = measured(runs, texts, chosen.rounds)
    lengths = exact.count_tokens(texts)
    print(f"{len(texts)} passages of {statistics.median(lengths):.0f} tokens (longest {max(lengths)}), ", end="")
    print(f"theirs in batches of {chosen.batch}, {chosen.threads} threads, {chosen.rounds} rounds")
    reference = run_theirs(texts)
    for name, found in rates.items():
        line = f"{name:22} {spread(found, '.1f')} passages/s"
        if name != PEER:
            ratio = spread([one / other for one, other in zip(found, rates[PEER], strict=True)], ".2f")
            cosines = (runs[name](texts) * reference).sum(-1)
            line += f", {ratio} times theirs, cosine {cosines.mean():.5f} (lowest {cosines.min():.5f})"
        print(line)


def measured(runs: Mapping[str, Run], texts: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Rates of each, round by round; who goes first changes, so that none always finds the warmer machine."""
    for run in runs.values():
        run(texts[:64])
    rates: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for _ in range(rounds):
        for name in order:
            rates[name].append(timed(runs[name], texts))
        order = [*order[1:], order[0]]
    return rates


if __name__ == "__main__":
    main()
