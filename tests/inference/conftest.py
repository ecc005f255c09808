"""A tiny model with a byte-level tokenizer, and a model that says what it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch

from genwerk.inference.engine import Engine
from genwerk.inference.logits import Logits
from genwerk.inference.model_runner import make_runner
from genwerk.inference.runner import Chunk
from genwerk.models.decoder import Decoder, DecoderConfig
from genwerk.tokenizers.tokenizer import Tokenizer

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
CONFIG = DecoderConfig(
    vocab_size=258, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=48, max_positions=1024
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on two threads than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 bytes, <|start|> (256) and <|end|> (257, the end token): a token is a byte, so characters span tokens."""
    path = tmp_path_factory.mktemp("byte-tokenizer")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    runner = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    runner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    runner.decoder = tokenizers.decoders.ByteLevel()
    runner.add_special_tokens(["<|start|>", "<|end|>"])
    runner.save(str(path / "tokenizer.json"))
    settings = {"eos_token": "<|end|>", "bos_token": "<|start|>", "chat_template": TEMPLATE}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="session")
def byte_tokenizer(tokenizer_files: Path) -> Tokenizer:
    return Tokenizer.load(tokenizer_files)


@pytest.fixture(scope="session")
def draw_model() -> Callable[[DecoderConfig], Decoder]:
    """draw_model(config) has random weights, large enough that the next token is not always the same."""

    def draw(config: DecoderConfig) -> Decoder:
        torch.manual_seed(7)
        model = Decoder(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(12)
        return model

    return draw


@pytest.fixture
def tiny_model(draw_model: Callable[[DecoderConfig], Decoder]) -> Decoder:
    return draw_model(CONFIG)


@pytest.fixture(params=["torch", "native"])
def make_engine(
    request: pytest.FixtureRequest, tiny_model: Decoder, byte_tokenizer: Tokenizer
) -> Callable[..., Engine]:
    """make_engine(adapters=("tuned",), **options) serves `tiny_model`; every test that uses it runs on both runners."""

    def make(*, adapters: Sequence[str] = (), positions: int = 4096, name: str = "tiny", **options: Any) -> Engine:
        runner = make_runner(
            tiny_model, engine=request.param, precision="float32", positions=positions, adapters=tuple(adapters)
        )
        return Engine(runner, byte_tokenizer, name=name, **options)

    return make


@pytest.fixture
def tiny_engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


class ScriptedRunner:
    """Says the given token numbers one after the other, whatever it reads; NaN for a negative number."""

    config, aligned, blocks, adapters, title = CONFIG, 1, 64, (), "scripted"

    def __init__(self, script: Sequence[int]) -> None:
        self.script = tuple(script)
        self.prompt_tokens = 0
        self.steps = 0

    def copy_blocks(self, copies: Sequence[tuple[int, int]]) -> None:
        """What it says does not depend on the cache."""

    def step(self, chunks: Sequence[Chunk]) -> Logits:
        self.steps += 1
        return np.concatenate([self._rows(chunk) for chunk in chunks])

    def _rows(self, chunk: Chunk) -> Logits:
        length = chunk.start + len(chunk.tokens)
        if len(chunk.tokens) > chunk.wanted:
            self.prompt_tokens = length
        return np.stack([self._logits(place) for place in range(length - chunk.wanted + 1, length + 1)])

    def _logits(self, length: int) -> Logits:
        token = self.script[length - self.prompt_tokens]
        if token < 0:
            return np.full(CONFIG.vocab_size, np.nan, np.float32)
        return 20 * np.eye(1, CONFIG.vocab_size, token, np.float32)[0]


@pytest.fixture
def scripted(byte_tokenizer: Tokenizer) -> Callable[..., Engine]:
    """scripted("text") is an engine that answers so; ends with the end token unless `end` is False."""

    def make(text: str | Sequence[int], *, end: bool = True, speculate: bool = False) -> Engine:
        script = byte_tokenizer.encode(text) if isinstance(text, str) else list(text)
        runner = ScriptedRunner([*script, *([257] if end else [])])
        return Engine(runner, byte_tokenizer, name="scripted", speculate=speculate)

    return make


@pytest.fixture
def adapter_path(tiny_model: Decoder, tmp_path: Path) -> Path:
    """An adapter for `tiny_model` on disk, far enough from zero to change its answers."""
    from genwerk.models.lora import LoraConfig, adapter_parameters, add_adapter, remove_adapter, save_adapter

    add_adapter(tiny_model, "drawn", LoraConfig(rank=4), seed=1)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in adapter_parameters(tiny_model, "drawn"):
            parameter.normal_(std=0.3)
    save_adapter(tiny_model, "drawn", tmp_path / "adapter", "tiny")
    remove_adapter(tiny_model, "drawn")
    return tmp_path / "adapter"
