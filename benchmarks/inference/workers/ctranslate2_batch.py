"""CTranslate2: one static batch, 8-bit weights and activations; a shared prefix is its static prompt."""

from __future__ import annotations

import json
from pathlib import Path

import ctranslate2
from ctranslate2.converters import TransformersConverter
from protocol import Answer, Ask, Clock, Hello, Settings, UnsupportedError, common_prefix, make_once, serve

FORMATS = {"INT8": "int8", "F32": "float32"}


class CTranslate2:
    def __init__(self, settings: Settings) -> None:
        kind = FORMATS[settings.variant]

        def convert(place: Path) -> None:
            TransformersConverter(settings.model).convert(str(place), quantization=kind)

        path = make_once(Path(settings.folder) / settings.variant, convert)
        self._generator = ctranslate2.Generator(
            str(path), device="cpu", compute_type=kind, inter_threads=1, intra_threads=settings.threads
        )
        self._words = json.loads((path / "vocabulary.json").read_text(encoding="utf-8"))
        self.hello = Hello(ctranslate2.__version__, (path / "model.bin").stat().st_size / 1e6)

    def run(self, ask: Ask) -> Answer:
        if ask.lookup:
            raise UnsupportedError("CTranslate2 has no prompt lookup")
        shared = common_prefix(ask.prompts)
        prompts = [[self._words[token] for token in prompt[len(shared) :]] for prompt in ask.prompts]
        clock = Clock()

        def tick(step: ctranslate2.GenerationStepResult) -> bool:
            clock.tick()
            return False

        results = self._generator.generate_batch(
            prompts,
            static_prompt=[self._words[token] for token in shared] or None,
            max_length=ask.new,
            min_length=ask.new,
            include_prompt_in_result=False,
            callback=tick if len(prompts) == 1 else None,
        )
        return clock.answer([list(result.sequences_ids[0]) for result in results])


if __name__ == "__main__":
    serve(CTranslate2)
