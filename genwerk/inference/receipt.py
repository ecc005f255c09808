"""Receipts: what is needed to get the same tokens again, and whether this engine can.

A receipt names the model, the adapter, hashes of their files (model_files.py) and of the chat template, the sampling
with its seed and what decides floating-point results and random numbers: the version of genwerk, the runner with its
precision and the processor's vector instructions (for PyTorch its version and number of threads too), and the sampler
with its version, where the runner does not draw itself as vLLM does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from genwerk import __version__
from genwerk.core.errors import RequestError
from genwerk.core.types import Constraint, Receipt, Sampling
from genwerk.inference.runner_choice import PRECISIONS, RUNNERS
from genwerk.inference.sampler import SAMPLER


def make_receipt(
    model: str,
    adapter: str | None,
    template_sha256: str,
    sampling: Sampling,
    runner: str,
    constraint: Constraint | None = None,
    weights: Mapping[str, str] | None = None,
) -> Receipt:
    """The receipt of one generation on this machine; `runner` is the title of what computed it."""
    return Receipt(model, adapter, template_sha256, sampling, _versions(runner), constraint, weights or {})


def check_replayable(
    receipt: Receipt, model: str, template_sha256: str, weights: Mapping[str, str] | None = None
) -> None:
    """Raise RequestError if another model or template made `receipt`: its tokens cannot come out again here.

    weights   hashes as in a receipt; older receipts, and engines that were not loaded from files, have none.
    """
    held = weights or {}
    for name, theirs, ours in (
        ("model", receipt.model, model),
        ("template_sha256", receipt.template_sha256, template_sha256),
        *((f"weights.{part}", known, held[part]) for part, known in receipt.weights.items() if part in held),
    ):
        if theirs != ours:
            raise RequestError(
                f"the receipt's {name} is {theirs}, this engine's is {ours}",
                param=name,
                code="receipt_mismatch",
                remedy="Load the model that made the answer.",
            )


def loading_of(receipt: Receipt) -> tuple[str, str]:
    """Engine and precision that `receipt` names, as `load_engine` takes them. Raises RequestError if it names none."""
    title, known = receipt.versions.get("runner", "").split(), (*RUNNERS[1:], "vllm")
    engine = next((word for word in title[:1] if word in known), None)
    if engine is None:
        raise RequestError(
            f"the receipt was made by `{' '.join(title) or 'nothing'}`, which is no engine here",
            param="runner",
            code="receipt_mismatch",
            remedy=f"Engines: {', '.join(known)}.",
        )
    precisions = (*PRECISIONS, "bfloat16", "float16") if engine == "vllm" else PRECISIONS
    return engine, next((word for word in title[1:] if word in precisions), "float32")


def window_of(receipt: Receipt) -> tuple[int | None, int]:
    """Window and sinks that `receipt` names, as `Engine.load` takes them."""
    found = re.search(r", window (\d+)(?: and (\d+) sinks)?$", receipt.versions.get("runner", ""))
    return (int(found[1]), int(found[2] or 0)) if found else (None, 0)


def cache_of(receipt: Receipt) -> str:
    """How keys and values were kept, as `Engine.load` takes it."""
    found = re.search(r", cache (\w+)", receipt.versions.get("runner", ""))
    return found[1] if found else "auto"


def version_differences(receipt: Receipt, runner: str) -> list[str]:
    """Versions that are not those of `receipt`, one line each; empty means bit-equal replay is promised."""
    ours = _versions(runner)
    names = sorted({*ours, *receipt.versions})
    return [
        f"{name}: the receipt has {receipt.versions.get(name, 'none')}, this process has {ours.get(name, 'none')}"
        for name in names
        if receipt.versions.get(name) != ours.get(name)
    ]


def _versions(runner: str) -> dict[str, str]:
    sampler = {} if runner.startswith("vllm") else {"sampler": SAMPLER}
    return {"genwerk": __version__, "runner": runner} | sampler
