"""Our engine, a fresh one for every ask, so that no prefix is known; the callers are threads, as in the server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from protocol import Answer, Ask, Clock, Hello, Settings, UnsupportedError, serve

from genwerk import __version__
from genwerk.core.machine import threads_to_use
from genwerk.core.types import Constraint, Sampling
from genwerk.inference.backend import load_runner
from genwerk.inference.engine import Engine
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.tokenizers.tokenizer import Tokenizer

MOST_REQUESTS = 64


class GenwerkNative:
    def __init__(self, settings: Settings) -> None:
        assert threads_to_use() == settings.threads  # OMP_NUM_THREADS; PyTorch is not needed
        path = Path(settings.model)
        runner = load_runner(path, engine="native", precision=settings.variant, positions=settings.positions)
        assert isinstance(runner, NativeDecoder)
        self._runner, self._tokenizer = runner, Tokenizer.load(path)
        cache = runner.keys.nbytes + runner.values.nbytes
        self.hello = Hello(f"{__version__} {runner.title}", runner.weight_bytes / 1e6, cache / 1e6)

    def run(self, ask: Ask) -> Answer:
        engine = Engine(
            self._runner, self._tokenizer, name="benchmark", max_sequences=MOST_REQUESTS, speculate=ask.lookup
        )
        if len(ask.prompts) > MOST_REQUESTS:
            raise UnsupportedError(f"at most {MOST_REQUESTS} requests are served at once here")
        sampling = Sampling(max_tokens=ask.new, min_tokens=ask.new)
        form = Constraint("json_schema", ask.schema) if ask.schema else None
        if form is not None:
            engine.stream_ids([0], sampling, constraint=form).close()  # a form is compiled once, not with every answer

        def answer(prompt: list[int]) -> list[int]:
            drawn = []
            for delta in engine.stream_ids(prompt, sampling, constraint=form):
                clock.tick()
                if delta.token is not None:
                    drawn.append(delta.token)
            return drawn

        with ThreadPoolExecutor(len(ask.prompts)) as pool:
            clock = Clock()
            tokens = list(pool.map(answer, ask.prompts))
            return clock.answer(tokens)


if __name__ == "__main__":
    serve(GenwerkNative)
