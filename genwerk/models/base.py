"""The step that loads a base model others trained: a Hugging Face directory or a GGUF file becomes an artifact.

The weights are read once, so a damaged or unsupported model is refused here and not while serving.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from genwerk.core.artifact import Source
from genwerk.core.config import Config, Field
from genwerk.core.errors import ModelError
from genwerk.core.progress import track
from genwerk.core.workspace import Step
from genwerk.models.gguf import convert_gguf
from genwerk.models.hf_config import TOKENIZER_FILES
from genwerk.models.huggingface import load_decoder
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["LoadBaseConfig", "load_base"]

_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES, "vocab.json", "merges.txt", "tokenizer.model")


class LoadBaseConfig(Config):
    """Which base model is loaded."""

    name: str = Field(description="how the recipe names it; written into adapters tuned on it")


def load_base(config: LoadBaseConfig, step: Step, asset: Source) -> Mapping[str, float | int | str]:
    """Make a model artifact of `asset`. Raises ModelError that names the file when it cannot be read."""
    if asset.path.is_dir():
        _copy(asset.path, step.out)
    elif asset.path.suffix == ".gguf":
        convert_gguf(asset.path, step.out)
    else:
        raise ModelError(
            f"{asset.path.name} is no model",
            where=str(asset.path),
            remedy="Give a Hugging Face directory with model.safetensors, or a .gguf file.",
        )
    model, tokenizer = load_decoder(step.out), Tokenizer.load(step.out)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ModelError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model only {model.config.vocab_size}",
            where=str(asset.path),
            remedy="tokenizer.json and the weights must be of one model.",
        )
    return {
        "name": config.name,
        "architecture": model.config.architecture,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "context": model.config.max_positions,
        "vocab_size": model.config.vocab_size,
    }


def _copy(source: Path, out: Path) -> None:
    weights = sorted(source.glob("model*.safetensors")) + sorted(source.glob("model.safetensors.index.json"))
    if not weights:
        raise ModelError(
            "there is no model.safetensors",
            where=str(source),
            remedy="Only safetensors weights are read; convert a pytorch_model.bin with transformers' save_pretrained.",
        )
    files = [source / name for name in _FILES if (source / name).exists()] + weights
    with track("copying the model", total=len(files), unit="files") as bar:
        for file in files:
            shutil.copyfile(file, out / file.name)
            bar.advance()
