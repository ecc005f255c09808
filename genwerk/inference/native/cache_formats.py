"""How the kernels keep keys and values: in which numbers, and how many of them a head has in a block.

auto   float32 beside float32 weights; else 16 bits: bfloat16 where tile registers multiply them, float16 elsewhere
int8   bytes, and one scale for each position and head (kernels/attention_bytes.h)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genwerk.core.errors import ModelError
from genwerk.inference.native.layout import PANEL

__all__ = ["CACHES", "CacheFormat", "cache_format"]

CACHES = ("auto", "int8")


@dataclass(frozen=True, slots=True)
class CacheFormat:
    """name: as `layout.FORMATS` has it; dtype: what NumPy takes a number for; numbers: how many of these keys of a head
    take in a block, scales included."""

    name: str
    dtype: type[np.generic[Any]]
    numbers: int

    @property
    def size(self) -> int:
        """Bytes of a head's keys in a block, and of its values."""
        return self.numbers * np.dtype(self.dtype).itemsize


def cache_format(cache_precision: str, precision: str, variant: str, head: int) -> CacheFormat:
    """precision: of the weights; head: `layout.head_size`. Raises ModelError for an unknown `cache_precision`."""
    if cache_precision not in CACHES:
        raise ModelError(f"there is no cache precision `{cache_precision}`", remedy=f"Known: {', '.join(CACHES)}.")
    if cache_precision == "int8":
        return CacheFormat("int8", np.uint8, PANEL * head + PANEL * np.dtype(np.float32).itemsize)
    if precision == "float32":
        return CacheFormat("float32", np.float32, PANEL * head)
    if variant == "amx" and head % 32 == 0:
        return CacheFormat("bfloat16", np.uint16, PANEL * head)
    return CacheFormat("float16", np.float16, PANEL * head)
