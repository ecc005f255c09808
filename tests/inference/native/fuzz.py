"""Runs random models, batches, cuts and tables through libraries built with a sanitiser.

    python fuzz.py FOLDER ROUNDS [vanishing | outside | two-at-once]

`vanishing` makes activations as small as numbers get; `outside` and `two-at-once` break the rules, so that a sanitiser
that sees nothing is found out. Else the sanitiser ends the process at its first report, and answers are compared with
those of each sequence in one chunk.
"""

from __future__ import annotations

import ctypes
import itertools
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from small_models import ADAPTERS, draw, make_native, step
from torch import Tensor

from genwerk.inference.native import decoder, library
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.runner import BLOCK, Chunk
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.models.lora import adapter_parameters, add_adapter

WINDOWS: list[dict[str, Any]] = [
    {}, {"sliding_window": 1}, {"sliding_window": 32}, {"sliding_window": 9, "full_layers": (0,)},
    {"sliding_window": 40, "sinks": 3}, {"sliding_window": 9, "sinks": 32},
]  # fmt: skip


@dataclass
class Running:
    tokens: list[int]
    table: list[int]
    adapter: str | None
    done: int = 0

    def chunk(self, size: int) -> Chunk:
        start = self.done
        self.done = min(len(self.tokens), start + size)
        return Chunk(self.tokens[start : self.done], start, self.table, self.adapter)


def random_model(chance: random.Random, *, vanishing: bool) -> Decoder:
    n_kv_heads = chance.choice([1, 2, 3])
    config = DecoderConfig(
        vocab_size=chance.choice([2, 33, 96, 258]),
        d_model=chance.choice([2, 20, 32, 50]),
        n_layers=chance.choice([1, 2]),
        n_heads=n_kv_heads * chance.choice([1, 2, 3, 7]),
        n_kv_heads=n_kv_heads,
        head_dim=chance.choice([2, 8, 10, 16, 24, 48, 64]),
        d_ff=chance.choice([1, 31, 32, 70]),
        max_positions=96,
        tie_embeddings=chance.random() < 0.5,
        qkv_bias=chance.random() < 0.5,
        o_bias=chance.random() < 0.5,
        qk_norm=chance.random() < 0.5,
        **chance.choice(WINDOWS),
        **chance.choice([{}, {}, {"n_experts": 5, "n_experts_per_token": chance.choice([1, 3])}]),
    )
    model = draw(config, chance.randrange(1000))
    for name, shape in () if config.n_experts else ADAPTERS.items():
        add_adapter(model, name, shape, seed=chance.randrange(1000))
        for parameter in adapter_parameters(model, name):
            torch.nn.init.normal_(parameter, std=0.2)
    if vanishing:
        with torch.no_grad():
            for block in model.layers:
                block.post_attention_layernorm.weight.mul_(10.0 ** -chance.choice([20, 37, 40, 44]))
    return model


def run(runner: NativeDecoder, chance: random.Random) -> None:
    """Some sequences together, a piece of each a step, each beginning when it likes; then each alone."""
    model, blocks = runner.config, list(range(runner.blocks))
    chance.shuffle(blocks)
    waiting = []
    for _ in range(chance.choice([1, 2, 5])):
        length = chance.choice([1, 5, 32, 33, chance.randint(1, 96)])
        table = [blocks.pop() for _ in range(-(-length // BLOCK))]
        tokens = [chance.randrange(model.vocab_size) for _ in range(length)]
        waiting.append(Running(tokens, table, chance.choice([None, *runner.adapters])))
    last: dict[int, Tensor] = {}
    while left := [one for one in waiting if one.done < len(one.tokens)]:
        chosen = chance.sample(left, chance.randint(1, len(left)))
        logits = step(runner, [one.chunk(chance.choice([1, 3, 6, 12, 13, 40, 96])) for one in chosen])
        last |= {id(one): row for one, row in zip(chosen, logits, strict=True)}
    for one in waiting:
        assert torch.equal(step(runner, [Chunk(one.tokens, 0, one.table, one.adapter)])[0], last[id(one)])


def reach_outside(chance: random.Random) -> None:
    """One block past the cache, where the check before the kernels is taken away."""
    model = random_model(chance, vanishing=False)
    runner = make_native(model, blocks=1, variant="portable", threads=1)
    runner._check = lambda *_: None  # type: ignore[method-assign]
    runner.step([Chunk([1], 0, [1])])


def run_two_at_once(chance: random.Random) -> None:
    """Two steps of one runner, which is not made for it."""
    runner = make_native(random_model(chance, vanishing=False), blocks=4, variant="portable", threads=1)
    threads = [Thread(target=lambda: [runner.step([Chunk([1] * 30, 0, [0])]) for _ in range(20)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(path: str, rounds: int, mode: str) -> None:
    torch.set_num_threads(1)
    built = {file.stem: library._declare(ctypes.CDLL(str(file))) for file in Path(path).glob("*.so")}
    assert set(built) <= set(library.usable_variants())  # who asks is allowed the tile registers
    decoder._untouched = np.zeros  # from the heap, whose ends the sanitiser guards
    decoder.load_library = built.__getitem__  # type: ignore[assignment]
    chance = random.Random(0)
    if mode == "outside":
        reach_outside(chance)
    if mode == "two-at-once":
        run_two_at_once(chance)
    for _ in range(rounds):
        model = random_model(chance, vanishing=mode == "vanishing")
        for variant, precision in itertools.product(built, ("float32", "int8", "int4")):
            cache = chance.choice(["auto", "int8"])
            threads = chance.choice([1, 2, 4])
            settings: dict[str, Any] = {
                "precision": precision,
                "cache_precision": cache,
                "variant": variant,
                "threads": threads,
            }
            adapters = () if model.config.n_experts else tuple(ADAPTERS)
            run(make_native(model, blocks=20, adapters=adapters, **settings), chance)
    print("done", *built)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), "".join(sys.argv[3:]))
