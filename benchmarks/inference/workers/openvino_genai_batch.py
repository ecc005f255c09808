"""OpenVINO GenAI: continuous batching with its prefix cache, weights in 8 bits, keys and values as it likes them."""

from __future__ import annotations

import subprocess
import sys
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino
import openvino_genai as genai
from protocol import Answer, Ask, Clock, Hello, Settings, make_once, serve

CACHE_GB = 2
PROPOSED, LOOKED_AT = 10, 3
FORMATS = {"INT8": "int8", "INT4": "int4"}


class OpenVino:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = make_once(Path(settings.folder) / settings.variant, self._convert)
        self._requests = 0
        _ = self._plain
        self.hello = Hello(version("openvino-genai"), (self._path / "openvino_model.bin").stat().st_size / 1e6)

    def run(self, ask: Ask) -> Answer:
        config = genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = ask.new, True, False
        prompts = [openvino.Tensor(np.array([prompt], dtype=np.int64)) for prompt in ask.prompts]
        if ask.lookup:
            return self._look_up(prompts[0], config)
        clock, tokens = Clock(), [[] for _ in prompts]
        handles = [self._add(prompt, config) for prompt in prompts]
        while self._plain.has_non_finished_requests():
            self._plain.step()
            for drawn, handle in zip(tokens, handles, strict=True):
                if handle.can_read():
                    clock.tick()
                    for output in handle.read().values():
                        drawn += output.generated_ids
        return clock.answer(tokens)

    def _add(self, prompt: openvino.Tensor, config: genai.GenerationConfig) -> genai.GenerationHandle:
        self._requests += 1
        return self._plain.add_request(self._requests, prompt, config)

    def _look_up(self, prompt: openvino.Tensor, config: genai.GenerationConfig) -> Answer:
        config.num_assistant_tokens, config.max_ngram_size = PROPOSED, LOOKED_AT
        pipeline, clock = self._looking, Clock()

        class Ticks(genai.StreamerBase):
            def write(self, token: int | list[int]) -> genai.StreamingStatus:
                clock.tick()
                return genai.StreamingStatus.RUNNING

            def end(self) -> None:
                pass

        result = pipeline.generate([prompt], [config], Ticks())
        return clock.answer([list(result[0].m_generation_ids[0])])

    @cached_property
    def _plain(self) -> genai.ContinuousBatchingPipeline:
        return self._pipeline()

    @cached_property
    def _looking(self) -> genai.ContinuousBatchingPipeline:
        return self._pipeline(prompt_lookup=True)

    def _pipeline(self, **options: object) -> genai.ContinuousBatchingPipeline:
        config = genai.SchedulerConfig()
        config.cache_size, config.enable_prefix_caching = CACHE_GB, True
        properties = {"INFERENCE_NUM_THREADS": self._settings.threads, **options}
        return genai.ContinuousBatchingPipeline(str(self._path), config, "CPU", properties)

    def _convert(self, place: Path) -> None:
        command = Path(sys.executable).with_name("optimum-cli")
        options = ["--task", "text-generation-with-past", "--weight-format", FORMATS[self._settings.variant]]
        words = [str(command), "export", "openvino", "--model", self._settings.model, *options, str(place)]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"optimum-cli export failed: {done.stdout.strip().splitlines()[-1]}")


if __name__ == "__main__":
    serve(OpenVino)
