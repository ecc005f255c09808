"""Where a run computes and in which precision: float32 on a CPU, bfloat16 autocast on a CUDA device.

float32 is the default on every CPU because there the loss stream is the reference. `precision: bfloat16` is for CPUs
with matrix units for it (AMX), where it is several times faster; weights and optimiser state stay float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from genwerk.core.machine import probe

__all__ = ["Device", "Precision", "choose_device"]

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Device:
    """`where` is the device, `autocast` the type of its matrix products (float32: none), `reason` says why."""

    where: torch.device
    autocast: torch.dtype
    reason: str

    def context(self) -> AbstractContextManager[None]:
        """Wrap forward passes in this."""
        if self.autocast == torch.float32:
            return nullcontext()
        return torch.autocast(self.where.type, dtype=self.autocast)


def choose_device(precision: Precision = "auto") -> Device:
    """CUDA when there is one, else the CPU; `auto` is bfloat16 on CUDA and float32 on a CPU."""
    cuda = probe().cuda and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    if precision == "auto":
        kind = torch.bfloat16 if cuda else torch.float32
        reason = "a CUDA device is there" if cuda else "the CPU reference precision"
    else:
        kind, reason = getattr(torch, precision), "as the recipe says"
    return Device(device, kind, f"{kind} on {device}: {reason}".replace("torch.", ""))
