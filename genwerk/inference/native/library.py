"""Build and load the kernels: plain C++ behind a C interface, one library for every instruction set it may meet.

The sources are compiled once per machine by its own C++ compiler (c++, g++ or clang++, or what $CXX names) into the
cache folder, under a name that holds their hash; a library that does not fit the sources is never loaded. Nothing of
Python or PyTorch is compiled in.

Chosen:   ctypes, which lets go of the interpreter's lock for the length of a call; the object files are linked with the
          portable one first, so that code which all variants share runs everywhere.
Left out: Windows.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from genwerk.core.assets import cache_directory
from genwerk.core.errors import ModelError
from genwerk.core.machine import probe
from genwerk.core.progress import track
from genwerk.inference.native.layout import Batch, Cache, Model

__all__ = ["NativeUnavailableError", "build", "load_library", "variants"]

_KERNELS = Path(__file__).parent / "kernels"
_FLAGS = ("-std=c++20", "-O3", "-fPIC", "-Wno-psabi", "-pthread")
_VARIANTS: dict[str, tuple[str, ...]] = {"portable": ()}
if platform.machine() in ("x86_64", "AMD64"):
    _VARIANTS |= {"avx2": ("-march=x86-64-v3",), "avx512": ("-march=x86-64-v4", "-mavx512vnni")}


class NativeUnavailableError(ModelError):
    """There is no C++ compiler, or it cannot build the kernels; the reason is in the message."""


@functools.cache
def load_library() -> ctypes.CDLL:
    """The library, built first if it must be. Raises NativeUnavailableError."""
    compiler = _compiler()
    flags = _FLAGS
    identity = hashlib.sha256(repr((compiler, _version(compiler), flags, _VARIANTS)).encode())
    for source in sorted(_KERNELS.iterdir()):
        identity.update(source.name.encode() + b"\0" + source.read_bytes())
    place = cache_directory() / "native" / f"libgenwerk-{identity.hexdigest()[:16]}.so"
    if not place.exists():
        build(place, compiler=compiler, flags=flags)
    try:
        return _declare(ctypes.CDLL(str(place)))
    except OSError as error:
        raise NativeUnavailableError(
            f"the native kernels cannot be loaded: {error}",
            where=str(place),
            remedy="Delete the file, or let GENWERK_CACHE name a folder whose files may be executed.",
        ) from error


def build(place: Path, *, compiler: tuple[str, ...], flags: tuple[str, ...] = _FLAGS) -> None:
    """Compile the kernels into the shared library `place`, which appears whole or not at all.

    Raises NativeUnavailableError with the compiler's words, or where the folder cannot be written to.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _build(place, compiler, flags)
    except OSError as error:
        raise NativeUnavailableError(
            f"the native kernels cannot be built: {error}",
            where=str(place.parent),
            remedy="Let GENWERK_CACHE name a folder that can be written to.",
        ) from error


def _build(place: Path, compiler: tuple[str, ...], flags: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        objects = {name: Path(scratch) / f"{name}.o" for name in ("library", *_VARIANTS)}

        def compile_one(name: str) -> None:
            source = ["library.cpp"] if name == "library" else [f"-DGENWERK_VARIANT={name}", "variant.cpp"]
            source[-1] = str(_KERNELS / source[-1])
            _compile(*compiler, *flags, *_VARIANTS.get(name, ()), "-c", *source, "-o", str(objects[name]))

        with (
            track("building the native kernels, once", total=len(objects) + 1, unit="files") as bar,
            ThreadPoolExecutor(probe().cores) as workers,
        ):
            for _ in workers.map(compile_one, reversed(objects)):
                bar.advance()
            linked = Path(scratch) / place.name
            _compile(*compiler, *flags, "-shared", *map(str, objects.values()), "-o", str(linked))
            linked.replace(place)
            bar.advance()


def variants(library: ctypes.CDLL) -> list[str]:
    """The instruction sets this processor can run, best first."""
    found: list[str] = []
    while (name := library.genwerk_variant(len(found))) is not None:
        found.append(name.decode())
    return found


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
    library.genwerk_variant.restype, library.genwerk_variant.argtypes = ctypes.c_char_p, [ctypes.c_int]
    library.genwerk_open.restype, library.genwerk_open.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
    library.genwerk_close.restype, library.genwerk_close.argtypes = None, [ctypes.c_void_p]
    library.genwerk_step.restype = None
    library.genwerk_step.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(Model),
        ctypes.c_void_p,
        ctypes.POINTER(Cache),
        ctypes.POINTER(Batch),
    ]
    return library
