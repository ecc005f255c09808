"""Embedding speed: our encoder beside sentence-transformers, same weights, same texts, float32.

Runs in turn in one process with the same number of threads; prints texts per second, the ratio pair by pair, and how
far the vectors are apart.

    python benchmarks/embed.py                    # MiniLM over 512 passages of the Python language reference
    python benchmarks/embed.py --texts 64 --pairs 3
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pydoc_data.topics import topics

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from genwerk.core.assets import KNOWN, fetch
from genwerk.core.types import Document
from genwerk.retrieval.chunking import RecursiveChunker
from genwerk.retrieval.embedding import Embedder


def passages(count: int, embedder: Embedder) -> list[str]:
    """Chunks of the language reference, as the index cuts them: none is longer than the window."""
    chunker = RecursiveChunker(count_tokens=embedder.count_tokens, max_tokens=embedder.window)
    found: list[str] = []
    for name, text in sorted(topics.items()):
        found += [text[chunk.start : chunk.end] for chunk in chunker.chunk(Document.create(f"{name}.rst", text))]
    if len(found) < count:
        print(f"only {len(found)} passages are there; all are used")
    return found[:: max(1, len(found) // count)][:count]


def timed(run: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str]) -> float:
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
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    path = fetch(KNOWN["minilm"].spec, KNOWN["minilm"].sha256)
    ours, theirs = Embedder.load(path), SentenceTransformer(str(path), device="cpu")
    texts = passages(chosen.texts, ours)

    def run_ours(batch: Sequence[str]) -> np.ndarray:
        return ours.embed(batch)

    def run_theirs(batch: Sequence[str]) -> np.ndarray:
        return np.asarray(theirs.encode(list(batch), batch_size=chosen.batch, normalize_embeddings=True))

    apart = float(np.abs(run_ours(texts[:64]) - run_theirs(texts[:64])).max())
    rates: list[tuple[float, float]] = []
    for pair in range(chosen.pairs):
        if pair % 2:  # who goes first changes, so that neither always finds the warmer machine
            second = timed(run_theirs, texts)
            rates.append((timed(run_ours, texts), second))
        else:
            rates.append((timed(run_ours, texts), timed(run_theirs, texts)))
    print(f"{len(texts)} passages, theirs in batches of {chosen.batch}, {chosen.threads} threads, {chosen.pairs} pairs")
    print(f"genwerk                {spread([one for one, _ in rates], '.1f')} passages/s")
    print(f"sentence-transformers  {spread([other for _, other in rates], '.1f')} passages/s")
    print(f"ratio                  {spread([one / other for one, other in rates], '.2f')}")
    print(f"vectors differ by at most {apart:.1e}")


if __name__ == "__main__":
    main()
