"""The container format GGUF: metadata and quantised tensors in one file, little-endian, versions 2 and 3.

    magic "GGUF", version u32, tensors u64, entries u64
    entries    name, type u32, value            strings are length u64 and bytes; arrays type u32, length u64, items
    tensors    name, n_dims u32, dims u64..., type u32, offset u64
    padding to `general.alignment`, then the tensors' data

Read with memory mapping; every length is checked against the file, so a truncated file is refused with its size.
Tokens and merges are long arrays of strings: they are walked once over the bytes, which takes a fraction of a second.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from genwerk.core.errors import ModelError

__all__ = ["NO_FLOATS", "GGUFFile", "GGUFTensor"]

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# Types that `gguf` turns into no floats: whole numbers, and blocks that are only made while computing.
NO_FLOATS = frozenset({"Q1_0", "Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"})
_REMEDY = "The file is damaged or incomplete: copy or fetch it again."


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """Where one tensor lies. `shape` in numpy's order (rows first); `start` and `size` in bytes of the file."""

    name: str
    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    start: int
    size: int


class GGUFFile:
    """An open GGUF file: `metadata` by key, `tensors` by name. Raises ModelError for a damaged or truncated one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, GGUFTensor] = {}
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise ModelError("there is no such GGUF file", where=str(path), remedy="Check the path.") from None
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise ModelError(f"the GGUF file cannot be read: {error}", where=str(path), remedy=_REMEDY) from None
        try:
            self._read_header()
        except (struct.error, UnicodeDecodeError, ValueError, KeyError, IndexError, OverflowError) as error:
            size = len(self._data)
            raise ModelError(
                f"the GGUF file of {size} bytes ends or breaks inside its header ({error})",
                where=str(path),
                remedy=_REMEDY,
            ) from None
        needed = max((tensor.start + tensor.size for tensor in self.tensors.values()), default=0)
        if needed > len(self._data):
            raise ModelError(f"the GGUF file has {len(self._data)} of {needed} bytes", where=str(path), remedy=_REMEDY)

    def tensor(self, name: str) -> NDArray[np.float32]:
        """One tensor in float32. Raises ModelError where `gguf` cannot dequantise its type."""
        entry = self.tensors[name]
        if entry.kind.name in NO_FLOATS:
            raise self._unread(entry, "its type holds no floats that can be had")
        raw = np.frombuffer(self._data, dtype=np.uint8, count=entry.size, offset=entry.start)
        block, block_bytes = gguf.GGML_QUANT_SIZES[entry.kind]
        try:
            if entry.kind == gguf.GGMLQuantizationType.F32:
                return raw.view(np.float32).reshape(entry.shape)
            if entry.kind == gguf.GGMLQuantizationType.F16:
                return raw.view(np.float16).reshape(entry.shape).astype(np.float32)
            rows = raw.reshape(*entry.shape[:-1], entry.shape[-1] // block * block_bytes)
            values: NDArray[np.float32] = gguf.dequantize(rows, entry.kind)
        except ValueError as error:
            raise self._unread(entry, str(error)) from None
        return values.reshape(entry.shape)

    def _unread(self, entry: GGUFTensor, why: str) -> ModelError:
        what = f"tensor {entry.name} of type {entry.kind.name} cannot be read: {why}"
        remedy = "Use a file quantised as Q4, Q5, Q6, Q8, a K-quant, F16 or F32."
        return ModelError(what, where=str(self.path), remedy=remedy)

    def _read_header(self) -> None:
        if self._data[:4] != b"GGUF":
            raise ModelError("this is no GGUF file", where=str(self.path), remedy="Give a .gguf file.")
        version, n_tensors, n_entries = struct.unpack_from("<IQQ", self._data, 4)
        if version not in (2, 3):
            raise ModelError(
                f"GGUF version {version} is not supported",
                where=str(self.path),
                remedy="Supported: 2 and 3, little-endian; convert the file again.",
            )
        at = 24
        for _ in range(n_entries):
            key, at = self._string(at)
            kind, at = self._scalar("I", at)
            self.metadata[key], at = self._value(kind, at)
        found = []
        for _ in range(n_tensors):
            name, at = self._string(at)
            n_dims, at = self._scalar("I", at)
            *dims, kind, offset = struct.unpack_from(f"<{n_dims}QIQ", self._data, at)
            at += struct.calcsize(f"<{n_dims}QIQ")
            found.append((name, tuple(reversed(dims)), gguf.GGMLQuantizationType(kind), offset))
        alignment = int(self.metadata.get("general.alignment", 32))
        base = -(-at // alignment) * alignment
        for name, shape, kind, offset in found:
            block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
            size = int(np.prod(shape, dtype=np.int64)) // block * block_bytes
            self.tensors[name] = GGUFTensor(name, shape, kind, base + offset, size)

    def _value(self, kind: int, at: int) -> tuple[Any, int]:
        if kind == _STRING:
            return self._string(at)
        if kind != _ARRAY:
            return self._scalar(_SCALARS[kind], at)
        (kind, length), at = struct.unpack_from("<IQ", self._data, at), at + 12
        if kind in _SCALARS:
            item = _SCALARS[kind]
            return list(struct.unpack_from(f"<{length}{item}", self._data, at)), at + length * struct.calcsize(item)
        values = []
        for _ in range(length):
            value, at = self._value(kind, at)
            values.append(value)
        return values, at

    def _scalar(self, code: str, at: int) -> tuple[Any, int]:
        return struct.unpack_from(f"<{code}", self._data, at)[0], at + struct.calcsize(code)

    def _string(self, at: int) -> tuple[str, int]:
        (length,) = struct.unpack_from("<Q", self._data, at)
        at += 8
        if at + length > len(self._data):
            raise ValueError("a string reaches beyond the end")
        return self._data[at : at + length].decode("utf-8"), at + length
