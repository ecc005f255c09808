"""The native loops of both searches, where they can be built; without them both work, several times as slow."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from genwerk.core.progress import say
from genwerk.inference.native.library import NativeUnavailableError, compiled, usable_variants

__all__ = ["load_kernels"]

_KERNELS = Path(__file__).parent / "kernels"
_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64


@cache
def load_kernels() -> ctypes.CDLL | None:
    """The library of kernels/library.cpp, built once; None where there is no compiler, which is said once."""
    try:
        library = compiled(_KERNELS, usable_variants()[0])
    except NativeUnavailableError as error:
        say(f"searching without native kernels, several times as slow: {error.what}", style="yellow")
        return None
    scan, words = library.genwerk_scan, library.genwerk_words
    scan.restype = words.restype = None
    scan.argtypes = [_POINTER, _COUNT, _COUNT, _POINTER, _POINTER, _POINTER, ctypes.c_float, _POINTER]
    words.argtypes = [_POINTER, _POINTER, _COUNT, _POINTER, ctypes.c_double, _POINTER]
    return library
