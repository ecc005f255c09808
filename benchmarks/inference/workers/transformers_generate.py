"""transformers.generate by PyTorch's operators: float32, or linear layers rounded to 8 bits as they are met (oneDNN).

A shared prefix is read once and its cache repeated for every prompt, as its documentation advises.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from protocol import Answer, Ask, Clock, Hello, Settings, common_prefix, serve
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.generation.streamers import BaseStreamer

PROPOSED = 10


class Ticks(BaseStreamer):
    """The first call brings the prompt, the second the first token."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._calls = clock, 0

    def put(self, value: torch.Tensor) -> None:
        self._calls += 1
        if self._calls > 1:
            self._clock.tick()

    def end(self) -> None:
        pass


class Transformers:
    def __init__(self, settings: Settings) -> None:
        torch.set_num_threads(settings.threads)
        model = AutoModelForCausalLM.from_pretrained(settings.model, dtype=torch.float32).eval()
        model.generation_config.eos_token_id = None  # an end token does not end anything here
        model.generation_config.pad_token_id = 0
        if settings.variant == "INT8":
            torch.backends.quantized.engine = "onednn"
            model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
        self._model = model
        self.hello = Hello(transformers.__version__)

    @torch.inference_mode()
    def run(self, ask: Ask) -> Answer:
        prompts, shared, clock = torch.tensor(ask.prompts), common_prefix(ask.prompts), Clock()
        options: dict[str, Any] = {"prompt_lookup_num_tokens": PROPOSED} if ask.lookup else {}
        if shared:
            cache = DynamicCache(config=self._model.config)
            cache = self._model(torch.tensor([shared]), past_key_values=cache, logits_to_keep=1).past_key_values
            cache.batch_repeat_interleave(len(prompts))
            options["past_key_values"] = cache
        if len(prompts) == 1:
            options["streamer"] = Ticks(clock)
        out = self._model.generate(
            prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=ask.new, do_sample=False, **options
        )
        return clock.answer(out[:, prompts.shape[1] :].tolist())


if __name__ == "__main__":
    serve(Transformers)
