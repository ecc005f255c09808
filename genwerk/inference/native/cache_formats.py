"""How the kernels keep keys and values: in which numbers, and how many of them a head has in a block.

auto   float32 beside float32 weights; else 16 bits: bfloat16 where tile registers multiply them, float16 elsewhere
int8   bytes, and one scale for each position and head (kernels/attention_bytes.h)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genwerk.inference.native.pack import PANEL

__all__ = ["CACHES", "CacheFormat", "cache_format"]

CACHES = ("auto", "int8")


@dataclass(frozen=True, slots=True)
class CacheFormat:
    """name: as `pack.FORMATS` has it; dtype: what NumPy takes a number for; numbers: of a head's keys in a block."""

    name: str
    dtype: type[np.generic[Any]]
    numbers: int

    @property
    def size(self) -> int:
        """Bytes of a head's keys in a block, and of its values."""
        return self.numbers * np.dtype(self.dtype).itemsize


def cache_format(cache: str, precision: str, variant: str, head: int) -> CacheFormat:
    """head: its size, filled up (`pack.Arrangement`)."""
    if cache == "int8":
        return CacheFormat("int8", np.uint8, PANEL * head + PANEL * np.dtype(np.float32).itemsize)
    if precision == "float32":
        return CacheFormat("float32", np.float32, PANEL * head)
    if variant == "amx" and head % 32 == 0:
        return CacheFormat("bfloat16", np.uint16, PANEL * head)
    return CacheFormat("float16", np.float16, PANEL * head)
