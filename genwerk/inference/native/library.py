"""Build and load the kernels: plain C++ behind a C interface, one library per instruction set.

The sources are compiled once per machine by its own C++ compiler (c++, g++ or clang++, or what $CXX names) into the
cache folder, under a name that holds their hash; a library that does not fit the sources is never loaded. Nothing of
Python or PyTorch is compiled in.

Chosen:   ctypes, which lets go of the interpreter's lock for the length of a call.
Left out: Windows.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.cache import cache_directory
from genwerk.core.errors import ModelError
from genwerk.core.machine import probe
from genwerk.core.progress import track
from genwerk.inference.native.layout import Batch, Cache, EncoderModel, Model, Texts

__all__ = ["VARIANTS", "NativeUnavailableError", "Variant", "build", "compiled", "load_library", "usable_variants"]

_KERNELS = Path(__file__).parent / "kernels"
_FLAGS = ("-std=c++20", "-O3", "-fPIC", "-shared", "-Wno-psabi", "-ffp-contract=fast", "-pthread")


@dataclass(frozen=True, slots=True)
class Variant:
    """An instruction set: what the processor must have (names of `core.machine`) and what the compiler is told."""

    needs: frozenset[str]
    flags: tuple[str, ...]


# Best first.
VARIANTS = {
    "amx": Variant(
        frozenset({"avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}),
        ("-march=x86-64-v4", "-mavx512vnni", "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-mamx-int8"),
    ),
    "avx512": Variant(frozenset({"avx512f", "avx512_vnni"}), ("-march=x86-64-v4", "-mavx512vnni")),
    "avx2": Variant(frozenset({"avx2", "fma"}), ("-march=x86-64-v3",)),
    "portable": Variant(frozenset(), ()),
}


class NativeUnavailableError(ModelError):
    """There is no C++ compiler, or it cannot build the kernels; the reason is in the message."""


@functools.cache
def load_library(variant: str) -> ctypes.CDLL:
    """The library for an instruction set this processor has, built first if it must be.

    Raises NativeUnavailableError.
    """
    return _declare(compiled(_KERNELS, variant))


def compiled(folder: Path, variant: str) -> ctypes.CDLL:
    """`library.cpp` of a folder with what it includes, for an instruction set this processor has; built if it must be.

    Raises NativeUnavailableError.
    """
    if variant not in usable_variants():
        raise NativeUnavailableError(
            f"this processor cannot run `{variant}`", remedy=f"It can run: {', '.join(usable_variants())}."
        )
    compiler, flags = _compiler(), (*_FLAGS, *VARIANTS[variant].flags)
    identity = hashlib.sha256(repr((compiler, _version(compiler), flags)).encode())
    for source in sorted(folder.iterdir()):
        identity.update(source.name.encode() + b"\0" + source.read_bytes())
    place = cache_directory() / "native" / f"genwerk-{variant}-{identity.hexdigest()[:16]}.so"
    if not place.exists():
        build(place, compiler=compiler, flags=flags, folder=folder)
    try:
        return ctypes.CDLL(str(place))
    except OSError as error:
        raise NativeUnavailableError(
            f"the native kernels cannot be loaded: {error}",
            where=str(place),
            remedy="Delete the file, or let GENWERK_CACHE name a folder whose files may be executed.",
        ) from error


def usable_variants() -> list[str]:
    """The instruction sets this processor has, best first."""
    there = set(probe().instructions)
    usable = [name for name, variant in VARIANTS.items() if variant.needs <= there]
    return usable if "amx" not in usable or _tiles_allowed() else usable[1:]


@functools.cache
def _tiles_allowed() -> bool:
    """Linux saves a process's tile registers only after it asked."""
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return int(ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data)) == 0


def build(place: Path, *, compiler: tuple[str, ...], flags: tuple[str, ...], folder: Path = _KERNELS) -> None:
    """Compile the kernels of `folder` into the shared library `place`, which appears whole or not at all.

    Raises NativeUnavailableError with the compiler's words, or where the folder cannot be written to.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=place.parent) as scratch,
            track("building the native kernels, once", total=1, unit="library") as bar,
        ):
            made = Path(scratch) / place.name
            _compile(*compiler, *flags, str(folder / "library.cpp"), "-o", str(made))
            made.replace(place)
            bar.advance()
    except OSError as error:
        raise NativeUnavailableError(
            f"the native kernels cannot be built: {error}",
            where=str(place.parent),
            remedy="Let GENWERK_CACHE name a folder that can be written to.",
        ) from error


def _compiler() -> tuple[str, ...]:
    """The program, and what $CXX says behind its name."""
    named = os.environ.get("CXX", "").strip()
    for name in (named,) if named else ("c++", "g++", "clang++"):
        program, *options = shlex.split(name)
        if path := shutil.which(program):
            return (path, *options)
    raise NativeUnavailableError(
        "there is no C++ compiler" + (f" `{named}`" if named else ""),
        remedy="Install one (Debian: apt install g++) for answers several times as fast; PyTorch is used meanwhile.",
    )


@functools.cache
def _version(compiler: tuple[str, ...]) -> str:
    return _compile(*compiler, "--version").splitlines()[0]


def _compile(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NativeUnavailableError(
            f"`{' '.join(command[:1])}` cannot build the kernels: {done.stderr.strip()[-2000:]}",
            where=str(_KERNELS),
            remedy="Let CXX name a compiler that knows C++20 (g++ 11 or clang 14 and later).",
        )
    return done.stdout


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    library.genwerk_open.restype, library.genwerk_open.argtypes = ctypes.c_void_p, [ctypes.c_int]
    library.genwerk_close.restype, library.genwerk_close.argtypes = None, [ctypes.c_void_p]
    library.genwerk_step.restype = None
    library.genwerk_step.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(Model),
        ctypes.c_void_p,
        ctypes.POINTER(Cache),
        ctypes.POINTER(Batch),
    ]
    library.genwerk_encode.restype = None
    library.genwerk_encode.argtypes = [ctypes.c_void_p, ctypes.POINTER(EncoderModel), ctypes.POINTER(Texts)]
    return library
