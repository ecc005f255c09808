"""llama.cpp by its C interface, as its own server uses it: all sequences in one batch, a shared prefix read once.

The high-level class of llama-cpp-python serves one sequence; `llama_decode` with several is what llama.cpp can do. The
cache is one buffer for all sequences only where they share a prefix, which is faster for either case. Lookup takes
proposals from llama-cpp-python's own `LlamaPromptLookupDecoding` and tries them in one batch.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
import numpy as np
from llama_cpp import llama_cpp as c
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding
from protocol import Answer, Ask, Clock, Hello, Settings, common_prefix, make_once, serve

FORMATS = {"F32": c.LLAMA_FTYPE_ALL_F32, "Q8_0": c.LLAMA_FTYPE_MOSTLY_Q8_0, "Q4_0": c.LLAMA_FTYPE_MOSTLY_Q4_0}
BATCH, PIECE = 2048, 512
PROPOSED = 10


class LlamaCpp:
    """Of the file Q4_1 the others are made: F32 holds its values, Q8_0 and Q4_0 are rounded from those."""

    def __init__(self, settings: Settings) -> None:
        self._quiet = c.llama_log_callback(lambda level, text, data: None)
        c.llama_log_set(self._quiet, ctypes.c_void_p(0))
        c.llama_backend_init()
        path = _file(settings, settings.variant)
        self._model = c.llama_model_load_from_file(str(path).encode(), c.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot read {path}")
        self._threads = settings.threads
        self._vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self._model))
        self.hello = Hello(llama_cpp.__version__, path.stat().st_size / 1e6)

    def run(self, ask: Ask) -> Answer:
        shared = common_prefix(ask.prompts)
        room = len(shared) + sum(len(prompt) - len(shared) + ask.new + PROPOSED for prompt in ask.prompts)
        context = Context(self._model, self._vocab, self._threads, len(ask.prompts), room, unified=bool(shared))
        try:
            clock = Clock()
            tokens = [_look_up(context, ask, clock)] if ask.lookup else _together(context, ask, shared, clock)
            return clock.answer(tokens)
        finally:
            context.close()


class Context:
    """A cache and a batch. `decode` runs rows (token, position, sequence, wanted) and returns the likeliest next token
    of each row whose logits are wanted."""

    def __init__(self, model: int, vocab: int, threads: int, sequences: int, room: int, unified: bool) -> None:
        params = c.llama_context_default_params()
        parts = 1 if unified else sequences  # of one buffer
        params.n_ctx = (room // parts // 256 + 1) * 256 * parts
        params.n_batch, params.n_ubatch, params.n_seq_max = BATCH, PIECE, sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = unified
        self._context = c.llama_init_from_model(model, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp makes no context of {params.n_ctx} tokens")
        self.memory = c.llama_get_memory(self._context)
        self._batch, self._vocab = c.llama_batch_init(BATCH, 0, 1), vocab

    def decode(self, rows: Sequence[tuple[int, int, int, bool]]) -> list[int]:
        drawn = []
        for start in range(0, len(rows), BATCH):
            piece, batch = rows[start : start + BATCH], self._batch
            batch.n_tokens = len(piece)
            for row, (token, position, sequence, wanted) in enumerate(piece):
                batch.token[row], batch.pos[row], batch.n_seq_id[row] = token, position, 1
                batch.seq_id[row][0], batch.logits[row] = sequence, wanted
            if code := c.llama_decode(self._context, batch):
                raise RuntimeError(f"llama_decode ended with {code}")
            drawn += [self._likeliest(row) for row, (_, _, _, wanted) in enumerate(piece) if wanted]
        return drawn

    def _likeliest(self, row: int) -> int:
        logits = c.llama_get_logits_ith(self._context, row)
        return int(np.ctypeslib.as_array(logits, (self._vocab,)).argmax())

    def close(self) -> None:
        c.llama_batch_free(self._batch)
        c.llama_free(self._context)


def _together(context: Context, ask: Ask, shared: list[int], clock: Clock) -> list[list[int]]:
    """All sequences step by step; what they share is read for the first and lent to the others."""
    if shared:
        context.decode([(token, position, 0, False) for position, token in enumerate(shared)])
        for sequence in range(1, len(ask.prompts)):
            c.llama_memory_seq_cp(context.memory, 0, sequence, -1, -1)
    rest = [
        (token, position, sequence, position == len(prompt) - 1)
        for sequence, prompt in enumerate(ask.prompts)
        for position, token in enumerate(prompt)
        if position >= len(shared)
    ]
    last = context.decode(rest)
    clock.tick()
    tokens = [[token] for token in last]
    for step in range(ask.new - 1):
        places = enumerate(zip(last, ask.prompts, strict=True))
        last = context.decode([(token, len(prompt) + step, number, True) for number, (token, prompt) in places])
        for drawn, token in zip(tokens, last, strict=True):
            drawn.append(token)
    return tokens


def _look_up(context: Context, ask: Ask, clock: Clock) -> list[int]:
    """One sequence, tokens proposed and tried together; what was wrong is taken out of the cache again."""
    (text,) = ([*prompt] for prompt in ask.prompts)
    size, propose = len(text), LlamaPromptLookupDecoding(max_ngram_size=3, num_pred_tokens=PROPOSED)
    text += context.decode([(token, position, 0, position == size - 1) for position, token in enumerate(text)])
    clock.tick()
    while len(text) < size + ask.new:
        draft = [int(token) for token in propose(np.array(text, dtype=np.intc))]
        tried = [text[-1], *draft]
        start = len(text) - 1
        drawn = context.decode([(token, start + place, 0, True) for place, token in enumerate(tried)])
        right = next((place for place, token in enumerate(draft) if token != drawn[place]), len(draft))
        text += drawn[: right + 1]
        c.llama_memory_seq_rm(context.memory, 0, len(text) - 1, -1)
    return text[size : size + ask.new]


def _file(settings: Settings, variant: str) -> Path:
    if variant == "Q4_1":
        return Path(settings.gguf)
    source = Path(settings.gguf) if variant == "F32" else _file(settings, "F32")

    def quantize(place: Path) -> None:
        params = c.llama_model_quantize_default_params()
        params.ftype, params.allow_requantize, params.nthread = FORMATS[variant], True, settings.threads
        if c.llama_model_quantize(os.fsencode(source), os.fsencode(place), ctypes.byref(params)):
            raise RuntimeError(f"llama.cpp cannot make {variant} of {source}")

    return make_once(Path(settings.folder) / f"{variant}.gguf", quantize)


if __name__ == "__main__":
    serve(LlamaCpp)
