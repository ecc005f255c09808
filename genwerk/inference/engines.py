"""Which engine serves a model here: chosen by the hardware, and said aloud where that is no matter of course.

engine = load_engine(path, engine="auto", precision="int8")

auto      vllm where there are CUDA and vLLM, else native where its kernels can be built, else torch
native    kernels of ours, for processors
torch     the reference
vllm      for GPUs; pip install 'genwerk[gpu]'
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from genwerk.core.errors import ModelError
from genwerk.core.machine import probe
from genwerk.core.progress import say
from genwerk.inference.engine import Engine
from genwerk.inference.native.packed_directory import packed_precision
from genwerk.inference.runner_choice import RUNNERS
from genwerk.inference.text_engine import TextEngine

__all__ = ["ENGINES", "OURS", "SERVED", "choose_engine", "load_engine"]

ENGINES = (*RUNNERS, "vllm")
OURS = ("cache_precision", "window", "sinks")  # what only engines of ours can be asked for
SERVED = ("engine", "precision", *OURS)  # how a model is served, as a recipe says it


def load_engine(
    path: Path,
    *,
    adapters: Mapping[str, Path] | None = None,
    name: str | None = None,
    max_context: int | None = None,
    cache_positions: int | None = None,
    engine: str = "auto",
    precision: str = "float32",
    draft: Path | None = None,
    cache_file: Path | None = None,
    window: int | None = None,
    sinks: int = 0,
    cache_precision: str = "auto",
) -> TextEngine:
    """Read a Hugging Face directory and adapters in peft's format; see `Engine.load`. Raises ModelError."""
    kind = choose_engine(
        path, engine, draft=draft, cache_file=cache_file, window=window, sinks=sinks, cache_precision=cache_precision
    )
    if kind == "vllm":
        from genwerk.inference.vllm_engine import VllmEngine  # not imported where it is not chosen

        return VllmEngine.load(
            path, adapters=adapters, name=name, max_context=max_context, cache_positions=cache_positions,
            precision=precision,
        )  # fmt: skip
    return Engine.load(
        path, adapters=adapters, name=name, max_context=max_context, cache_positions=cache_positions, engine=engine,
        precision=precision, draft=draft, cache_file=cache_file, window=window, sinks=sinks,
        cache_precision=cache_precision,
    )  # fmt: skip


def choose_engine(
    path: Path,
    engine: str = "auto",
    *,
    draft: Path | None = None,
    cache_file: Path | None = None,
    window: int | None = None,
    sinks: int = 0,
    cache_precision: str = "auto",
) -> str:
    """What `engine` means for a model directory here: vllm, or as it is given. Raises ModelError for vllm where it
    cannot be."""
    if engine not in ENGINES:
        raise ModelError(f"there is no engine `{engine}`", remedy=f"Known: {', '.join(ENGINES)}.")
    windowed = window is not None or sinks != 0
    against = _against_vllm(path, draft, cache_file, windowed=windowed, cache_precision=cache_precision)
    if engine == "vllm" and against:
        raise ModelError(
            f"vLLM cannot serve this: {against}", where=str(path), remedy="Serve it with `engine: native`."
        )
    if engine != "auto" or not probe().cuda:
        return engine
    if against:
        say(f"vLLM is passed over, though there is CUDA: {against}", style="yellow")
        return engine
    if find_spec("vllm") is None:
        remedy = "`pip install 'genwerk[gpu]'` brings it"
        say(f"there is CUDA but no vLLM, so the processor serves this model; {remedy}", style="yellow")
        return engine
    say(f"vLLM serves this model: there is CUDA ({probe().gpus[0].name}), and vLLM is installed")
    return "vllm"


def _against_vllm(
    path: Path, draft: Path | None, cache_file: Path | None, *, windowed: bool, cache_precision: str
) -> str:
    """Why vLLM cannot do what is asked; empty where it can."""
    if (held := packed_precision(path)) is not None:
        return f"its weights are packed in {held}"
    if draft is not None:
        return "it takes no draft of ours"
    if windowed:
        return "it takes no other window than the model's own"
    if cache_precision != "auto":
        return f"it keeps no keys and values in {cache_precision}"
    return "it keeps no prefixes for the next start" if cache_file is not None else ""
