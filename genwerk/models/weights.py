"""Tensors and settings on disk: safetensors files (one or sharded) and JSON, read with errors that name the file.

A safetensors file says in its first bytes how long it must be, so a truncated one is told apart from a wrong one
before anything is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from genwerk.core.atomic import disk_full, fsync_directory, is_disk_full
from genwerk.core.errors import ModelError

__all__ = ["read_json", "read_model_tensors", "read_tensors", "write_tensors"]

_FETCH_AGAIN = "The file is damaged or incomplete: copy or fetch it again."


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ModelError when the file is missing, not JSON or not an object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path.name} is missing", where=str(path.parent), remedy="Give a complete model directory."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}", where=str(path), remedy=_FETCH_AGAIN) from None
    if not isinstance(values, dict):
        raise ModelError(f"{path.name} holds no JSON object", where=str(path), remedy=_FETCH_AGAIN)
    return values


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of one safetensors file, memory-mapped. Raises ModelError when it is missing or truncated."""
    _check_length(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}", where=str(path), remedy=_FETCH_AGAIN) from None


def read_model_tensors(directory: Path) -> dict[str, Tensor]:
    """All tensors of a model directory: model.safetensors, or the shards model.safetensors.index.json lists."""
    index = directory / "model.safetensors.index.json"
    if (directory / "model.safetensors").exists() or not index.exists():
        return read_tensors(directory / "model.safetensors")
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ModelError(f"{index.name} has no weight_map", where=str(index), remedy=_FETCH_AGAIN)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(shards.values())):
        tensors.update(read_tensors(directory / str(shard)))
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file in one piece: a reader sees the old file or the whole new one.

    Raises WorkspaceError on a full disk.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata={"format": "pt"})
        _move(temporary, path)
    except (SafetensorError, OSError) as error:
        temporary.unlink(missing_ok=True)
        if is_disk_full(error):
            raise disk_full(path) from error
        raise ModelError(
            f"{path.name} cannot be written: {error}", where=str(path), remedy="Check that the folder belongs to you."
        ) from error


def _move(temporary: Path, path: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_directory(path.parent)


def _check_length(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            whole = size >= 8 and 8 + header_size <= size
            header = json.loads(file.read(header_size)) if whole else {}
    except FileNotFoundError:
        raise ModelError(
            f"{path.name} is missing", where=str(path.parent), remedy="Give a complete model directory."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}", where=str(path), remedy=_FETCH_AGAIN) from None
    if not whole:
        raise ModelError(f"{path.name} ends inside its header", where=str(path), remedy=_FETCH_AGAIN)
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    needed = 8 + header_size + max(ends, default=0)
    if size < needed:
        raise ModelError(f"{path.name} has {size} of {needed} bytes", where=str(path), remedy=_FETCH_AGAIN)
