"""llama.cpp behind the benchmark's lines: python llama_cpp_worker.py GGUF THREADS"""

from __future__ import annotations

import json
import resource
import sys
import time

from llama_cpp import Llama


def main(path: str, threads: str) -> None:
    count = int(threads)
    llama = Llama(path, n_ctx=4096, n_batch=512, n_ubatch=512, n_threads=count, n_threads_batch=count, verbose=False)
    for line in sys.stdin:
        ask = json.loads(line)
        llama.reset()  # else a prompt that begins like the last one would not be read again
        times, tokens, start = [], [], time.perf_counter()
        for token in llama.generate(ask["prompt"], temp=0.0, top_k=1, reset=True):
            times.append(time.perf_counter())
            tokens.append(token)
            if len(tokens) == ask["new"]:
                break
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else None
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"first": times[0] - start, "rate": rate, "tokens": tokens, "memory_mb": memory}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
