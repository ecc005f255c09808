"""vLLM's build for processors: its engine stepped by hand, in this process, float32 and without a compiled graph.

It wants Intel's OpenMP loaded before all else, which comes with it, so the process starts itself anew with that.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

from protocol import Answer, Ask, Clock, Hello, Settings, UnsupportedError, serve

MOST_CONTEXT, MOST_REQUESTS = 2048, 16


class Vllm:
    def __init__(self, settings: Settings) -> None:
        os.environ |= {
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        import torch
        from vllm import LLM

        torch.set_num_threads(settings.threads)
        self._llm = LLM(
            settings.model,
            dtype="float32",
            enforce_eager=True,
            kv_cache_memory_bytes=2**30,
            max_model_len=MOST_CONTEXT,
            max_num_seqs=MOST_REQUESTS,
            disable_log_stats=True,
        )
        self._requests = 0
        self.hello = Hello(version("vllm-cpu"))

    def run(self, ask: Ask) -> Answer:
        from vllm import SamplingParams

        if ask.lookup:
            raise UnsupportedError("vLLM's lookup is a setting of the whole engine and was left out")
        params = SamplingParams(temperature=0.0, max_tokens=ask.new, ignore_eos=True, detokenize=False)
        engine, clock = self._llm.llm_engine, Clock()
        first, self._requests = self._requests, self._requests + len(ask.prompts)
        for number, prompt in enumerate(ask.prompts):
            engine.add_request(str(first + number), {"prompt_token_ids": prompt}, params)
        tokens: list[list[int]] = [[] for _ in ask.prompts]
        while engine.has_unfinished_requests():
            for output in engine.step():
                clock.tick()
                tokens[int(output.request_id) - first] = list(output.outputs[0].token_ids)
        return clock.answer(tokens)


def preload_openmp() -> None:
    library = Path(sys.prefix) / "lib" / "libiomp5.so"
    if library.exists() and "LD_PRELOAD" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"LD_PRELOAD": str(library)})


if __name__ == "__main__":
    preload_openmp()
    serve(Vllm)
