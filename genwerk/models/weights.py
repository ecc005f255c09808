"""Weights on disk as PyTorch's tensors: safetensors files, one or sharded, read with errors that name the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from genwerk.core.errors import ModelError
from genwerk.models.arrays import read_header, read_json, unreadable, write_whole

__all__ = ["read_model_tensors", "read_tensors", "write_tensors"]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of one safetensors file, memory-mapped. Raises ModelError when it is missing or truncated."""
    read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise unreadable(path, error) from None


def read_model_tensors(directory: Path) -> dict[str, Tensor]:
    """All tensors of a model directory: model.safetensors, or the shards model.safetensors.index.json lists."""
    index = directory / "model.safetensors.index.json"
    if (directory / "model.safetensors").exists() or not index.exists():
        return read_tensors(directory / "model.safetensors")
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ModelError(f"{index.name} has no weight_map", where=str(index), remedy="Copy or fetch it again.")
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(shards.values())):
        tensors.update(read_tensors(directory / str(shard)))
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file in one piece: a reader sees the old file or the whole new one.

    Raises WorkspaceError on a full disk.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_whole(path, lambda place: save_file(whole, place, metadata={"format": "pt"}))
