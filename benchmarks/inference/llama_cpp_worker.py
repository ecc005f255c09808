"""llama.cpp behind the benchmark's lines: python llama_cpp_worker.py GGUF THREADS

Uses its C interface through llama-cpp-python, so that nothing but the engine's own work is timed.
"""

from __future__ import annotations

import ctypes
import json
import resource
import sys
import time

import llama_cpp
import numpy as np


def main(path: str, threads: str) -> None:
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = 4096, 512, 512
    settings.n_threads = settings.n_threads_batch = int(threads)
    context = llama_cpp.llama_init_from_model(model, settings)
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def run(tokens: list[int]) -> int:
        """Compute `tokens` after what is there; the likeliest next one."""
        for start in range(0, len(tokens), 512):
            piece = (ctypes.c_int32 * len(tokens[start : start + 512]))(*tokens[start : start + 512])
            if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(piece, len(piece))):
                raise SystemExit("llama_decode failed")
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), shape=(vocab,))
        return int(logits.argmax())

    for line in sys.stdin:
        ask = json.loads(line)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        start = time.perf_counter()
        tokens = [run(ask["prompt"])]
        times = [time.perf_counter()]
        while len(tokens) < ask["new"]:
            tokens.append(run(tokens[-1:]))
            times.append(time.perf_counter())
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else None
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"first": times[0] - start, "rate": rate, "tokens": tokens, "memory_mb": memory}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
