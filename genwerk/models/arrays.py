"""What lies in a model directory, without PyTorch: JSON, and safetensors files as memory-mapped NumPy arrays.

A safetensors file says in its first bytes how long it must be, so a truncated one is told apart from a wrong one
before anything is read. Mapped arrays take memory as they are touched, and share it with every other process.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from genwerk.core.atomic import disk_full, fsync_directory, is_disk_full
from genwerk.core.errors import ModelError

__all__ = ["LINE", "Array", "map_arrays", "read_header", "read_json", "unreadable", "write_arrays", "write_whole"]

Array = NDArray[Any]

LINE = 64  # bytes of a cache line; what begins elsewhere makes two lines of every vector
_FETCH_AGAIN = "The file is damaged or incomplete: copy or fetch it again."
_TYPES = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I8": np.int8, "I32": np.int32, "I64": np.int64}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ModelError when the file is missing, not JSON or not an object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if not isinstance(values, dict):
        raise ModelError(f"{path.name} holds no JSON object", where=str(path), remedy=_FETCH_AGAIN)
    return values


def map_arrays(path: Path) -> dict[str, Array]:
    """All arrays of one safetensors file, memory-mapped; what is written to them stays in this process.

    Raises ModelError when the file is missing or truncated, or holds numbers that NumPy does not know (bfloat16).
    """
    header, begin = read_header(path)
    found: dict[str, Array] = {}
    try:
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            kind = np.dtype(_TYPES[entry["dtype"]])
            flat = np.frombuffer(memory, kind, (stop - start) // kind.itemsize, begin + start)
            found[name] = flat.reshape(entry["shape"])
    except (KeyError, OSError, ValueError) as error:
        raise unreadable(path, error) from None
    return found


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its arrays, by name, and where their bytes begin.

    Raises ModelError when the file is missing, or is not as long as it says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            whole = size >= 8 and 8 + length <= size
            header = json.loads(file.read(length)) if whole else {}
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if not whole:
        raise ModelError(f"{path.name} ends inside its header", where=str(path), remedy=_FETCH_AGAIN)
    header.pop("__metadata__", None)
    needed = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size < needed:
        raise ModelError(f"{path.name} has {size} of {needed} bytes", where=str(path), remedy=_FETCH_AGAIN)
    return header, 8 + length


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write a safetensors file in one piece, with every array at the beginning of a cache line once it is mapped.

    Only arrays that are no whole lines long, which come last, may begin elsewhere. Raises WorkspaceError on a full
    disk.
    """
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    names = sorted(whole, key=lambda name: whole[name].nbytes % LINE > 0)
    ends = np.cumsum([whole[name].nbytes for name in names]).tolist()
    header = {
        name: {"dtype": _NAMES[whole[name].dtype], "shape": whole[name].shape, "data_offsets": [begin, end]}
        for name, begin, end in zip(names, [0, *ends], ends, strict=False)
    }
    told = json.dumps(header, separators=(",", ":")).encode()
    told += b" " * (-(8 + len(told)) % LINE)

    def save(place: Path) -> None:
        with place.open("wb") as file:
            file.write(len(told).to_bytes(8, "little") + told)
            for name in names:
                file.write(whole[name].data)

    write_whole(path, save)


def write_whole(path: Path, save: Callable[[Path], None]) -> None:
    """What `save` writes comes to `path` in one piece: a reader sees the old file or the whole new one.

    Raises WorkspaceError on a full disk.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        save(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    except (SafetensorError, OSError) as error:
        temporary.unlink(missing_ok=True)
        if is_disk_full(error):
            raise disk_full(path) from error
        raise ModelError(
            f"{path.name} cannot be written: {error}", where=str(path), remedy="Check that the folder belongs to you."
        ) from error


def unreadable(path: Path, error: Exception) -> ModelError:
    """The error for a file that is not there, or cannot be read."""
    if isinstance(error, FileNotFoundError):
        return ModelError(f"{path.name} is missing", where=str(path.parent), remedy="Give a complete model directory.")
    return ModelError(f"{path.name} cannot be read: {error}", where=str(path), remedy=_FETCH_AGAIN)
