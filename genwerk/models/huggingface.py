"""Hugging Face directories: config.json, model.safetensors and generation_config.json, read and written as they are.

What is read here loads unchanged, and what is written loads in transformers, vLLM and llama.cpp: the shapes Llama
(SmolLM2), Mistral, Qwen2, Qwen3, Qwen3-MoE and Mixtral. Anything a network here cannot do exactly is refused by name.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genwerk.core.atomic import write_json
from genwerk.core.errors import ModelError
from genwerk.models.decoder import Attention, Decoder, DecoderConfig, RMSNorm
from genwerk.models.hf_config import TOKENIZER_FILES, config_to_hf, read_config
from genwerk.models.linear import Linear
from genwerk.models.weights import read_model_tensors, write_tensors

__all__ = ["empty_decoder", "expected_shapes", "load_decoder", "save_decoder", "slots"]

_MIXTRAL = {".mlp.": ".block_sparse_moe.", ".gate_proj.": ".w1.", ".up_proj.": ".w3.", ".down_proj.": ".w2."}


def load_decoder(path: Path, *, dtype: torch.dtype = torch.float32) -> Decoder:
    """Read a model directory; weights in 16 bits on disk are widened to `dtype`.

    Raises ModelError that names the file for a missing, truncated or unsupported one, and for wrong shapes.
    """
    model = empty_decoder(read_config(path), dtype)
    fill(model, read_model_tensors(path), where=str(path / "model.safetensors"))
    return model.eval()


def save_decoder(model: Decoder, path: Path, tokenizer_files: Path | None = None) -> None:
    """Write a model directory, with the tokenizer's files beside it where `tokenizer_files` is a directory.

    Adapters are not written (see lora.save_adapter). Raises ModelError when the disk is full.
    """
    path.mkdir(parents=True, exist_ok=True)
    special: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
    if tokenizer_files is not None:
        for name in TOKENIZER_FILES:
            if (tokenizer_files / name).exists() and tokenizer_files != path:
                shutil.copyfile(tokenizer_files / name, path / name)
        special = special_ids(tokenizer_files)
    write_tensors(path / "model.safetensors", {name: slot.cpu() for name, slot in slots(model)})
    name = str(model.dtype).removeprefix("torch.")
    write_json(path / "config.json", config_to_hf(model.config) | special | {"torch_dtype": name})
    write_json(path / "generation_config.json", special)


def empty_decoder(config: DecoderConfig, dtype: torch.dtype = torch.float32) -> Decoder:
    """A decoder whose weights are allocated but not drawn, for `fill`."""
    return Decoder(config, draw=False).to(dtype)  # PyTorch's `meta` device would load 70 MB of code first


def fill(model: Decoder, tensors: dict[str, Tensor], *, where: str) -> None:
    """Copy tensors with Hugging Face names into `model`. Raises ModelError for missing, surplus or wrong ones."""
    left = dict(tensors)
    for name, slot in slots(model):
        found = left.pop(name, None)
        if found is None:
            raise ModelError(
                f"weight {name} is missing", where=where, remedy="config.json and the weights must be of one model."
            )
        if found.shape != slot.shape:
            raise ModelError(
                f"weight {name} is {tuple(found.shape)}, config.json asks for {tuple(slot.shape)}",
                where=where,
                remedy="config.json and the weights must be of one model.",
            )
        slot.copy_(found)
    surplus = [
        name
        for name in left
        if not name.endswith("rotary_emb.inv_freq") and not (name == "lm_head.weight" and model.config.tie_embeddings)
    ]
    if surplus:
        raise ModelError(
            f"{len(surplus)} weights have no place in the model, such as {min(surplus)}",
            where=where,
            remedy="This kind of model cannot be read; supported: Llama, Mistral, Qwen2, Qwen3, Qwen3-MoE, Mixtral.",
        )


def expected_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """The weights a model directory of this config must hold, by name on disk."""
    with torch.device("meta"):
        model = Decoder(config, draw=False)
    return {name: tuple(slot.shape) for name, slot in slots(model)}


def slots(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    """(Hugging Face name, view into the model's weight) for every weight; writing to a view writes to the model."""
    if model.config.architecture == "mixtral":
        return ((_mixtral_name(name), slot) for name, slot in _slots(model))
    return _slots(model)


def _mixtral_name(name: str) -> str:
    for ours, theirs in _MIXTRAL.items():
        name = name.replace(ours, theirs)
    return name


def _slots(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    yield "model.embed_tokens.weight", model.embed_tokens.detach()
    if model.lm_head is not None:
        yield "lm_head.weight", model.lm_head.detach()
    for path, module in model.named_modules():
        parent = f"model.{path.rpartition('.')[0]}"
        if isinstance(module, Linear):
            for part, rows in module.rows.items():
                yield f"{parent}.{part}.weight", module.weight.detach()[rows]
                if module.bias is not None:
                    yield f"{parent}.{part}.bias", module.bias.detach()[rows]
        elif isinstance(module, Attention | RMSNorm):
            yield from ((f"model.{path}.{name}", slot) for name, slot in module.hf_slots())


def special_ids(directory: Path) -> dict[str, Any]:
    """bos_token_id and eos_token_id (an int or a list) of a tokenizer directory."""
    from genwerk.tokenizers.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(directory)
    ends = sorted(tokenizer.eos_ids)
    return {"bos_token_id": tokenizer.bos_id, "eos_token_id": ends[0] if len(ends) == 1 else ends or None}
