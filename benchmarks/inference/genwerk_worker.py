"""Our engine behind the benchmark's lines: python genwerk_worker.py MODEL PRECISION THREADS"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import torch

from genwerk.core.types import Sampling
from genwerk.inference.engine import Engine


def main(model: str, precision: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    engine = Engine.load(
        Path(model), precision=precision, cache_positions=4096, share_prefixes=False, speculate=False
    )  # fmt: skip
    for line in sys.stdin:
        ask = json.loads(line)
        times, tokens, start = [], [], time.perf_counter()
        sampling = Sampling(max_tokens=ask["new"], min_tokens=ask["new"])
        for delta in engine.stream_ids(ask["prompt"], sampling):
            times.append(time.perf_counter())
            tokens.append(delta.token)
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else None
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"first": times[0] - start, "rate": rate, "tokens": tokens, "memory_mb": memory}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
