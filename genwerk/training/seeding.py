"""Randomness as a pure function of (seed, step), so that a resumed run draws what an undisturbed run draws.

Nothing is carried from one step to the next: batches come from `generator(seed, step)`, and torch is seeded anew before
each step by `seed_step` (dropout is the only user).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.utils.deterministic

__all__ = ["deterministic", "generator", "seed_step"]


def generator(*keys: int) -> np.random.Generator:
    """The same generator for the same non-negative integers, e.g. generator(seed, step)."""
    return np.random.default_rng(np.random.SeedSequence(keys))


def seed_step(*keys: int) -> None:
    """Seed torch on all devices from these non-negative integers, e.g. seed_step(seed, step)."""
    torch.manual_seed(int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> 1))


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Let torch refuse operators without a deterministic version while the block runs; on the CPU, where it is free.

    On CUDA this would cost speed and needs CUBLAS_WORKSPACE_CONFIG before start, so nothing is changed there.
    """
    if device.type != "cpu":
        yield
        return
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled()
    filled = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = filled
