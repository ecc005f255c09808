"""The step that loads a base model: what it takes, what it copies, what it refuses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tokenizers
import torch

from genwerk.core.artifact import Source
from genwerk.core.errors import ModelError
from genwerk.models.base import LoadBaseConfig, load_base
from genwerk.models.huggingface import load_decoder

CONFIG = LoadBaseConfig(name="small")


@pytest.fixture
def model_dir(small_dir: Path) -> Path:
    words = {f"w{number}": number for number in range(97)}
    tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "w0")).save(str(small_dir / "tokenizer.json"))
    return small_dir


@pytest.fixture
def step(tmp_path: Path) -> Any:
    out = tmp_path / "out"
    out.mkdir()
    return SimpleNamespace(out=out)


def test_a_directory_is_copied_without_what_is_not_the_models(model_dir: Path, step: Any) -> None:
    (model_dir / "README.md").write_text("hello")
    (model_dir / "pytorch_model.bin").write_bytes(b"pickle")
    metrics = load_base(CONFIG, step, Source.of_folder("small", model_dir))
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert {file.name for file in step.out.iterdir()} == names
    assert metrics["architecture"] == "llama"
    ours, theirs = load_decoder(step.out), load_decoder(model_dir)
    assert metrics["parameters"] == sum(parameter.numel() for parameter in theirs.parameters())
    assert torch.equal(ours.embed_tokens, theirs.embed_tokens)


def test_what_is_no_model_is_refused(model_dir: Path, step: Any, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(ModelError, match=r"x\.zip is no model"):
        load_base(CONFIG, step, Source.of_file("x", tmp_path / "x.zip"))
    (model_dir / "model.safetensors").rename(model_dir / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no model\.safetensors.*save_pretrained"):
        load_base(CONFIG, step, Source.of_folder("small", model_dir))


def test_a_damaged_model_is_refused_when_it_is_loaded(model_dir: Path, step: Any) -> None:
    file = model_dir / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(ModelError, match=r"model\.safetensors has \d+ of \d+ bytes"):
        load_base(CONFIG, step, Source.of_folder("small", model_dir))


def test_a_tokenizer_of_another_model_is_refused(model_dir: Path, step: Any) -> None:
    words = {f"w{number}": number for number in range(98)}
    tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "w0")).save(str(model_dir / "tokenizer.json"))
    with pytest.raises(ModelError, match="the tokenizer has 98 tokens, the model only 97"):
        load_base(CONFIG, step, Source.of_folder("small", model_dir))
