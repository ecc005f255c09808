"""Checkpoints: the state of a running step, written whole or not at all, and found again after a kill.

A file is the sha256 of its payload (32 bytes) and the payload, `torch.save` of tensors and plain numbers only, so that
damage is noticed before anything is used and loading runs no code (`weights_only=True`).
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from genwerk.core.atomic import write_bytes
from genwerk.core.progress import say

__all__ = ["Checkpoint", "load_latest", "save_checkpoint"]

_KEPT = 2
_NAME = re.compile(r"step-(\d{9})\.ckpt")
_DIGEST_BYTES = 32


class Checkpoint(NamedTuple):
    """What was saved: `state` after `step` finished steps."""

    step: int
    state: dict[str, Any]


def save_checkpoint(directory: Path, step: int, state: dict[str, Any]) -> Path:
    """Write `state` after `step` finished steps, atomically; the two newest checkpoints are kept.

    `state` holds tensors, numbers, strings and containers of these. Raises what `core.atomic` raises on a full disk;
    the checkpoints already there are untouched then.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"step-{step:09d}.ckpt"
    write_bytes(path, hashlib.sha256(payload).digest() + payload)
    for old in _newest_first(directory)[_KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_latest(directory: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint on the CPU, or None. A damaged one is named on stderr and passed over."""
    for path in _newest_first(directory):
        data = path.read_bytes()
        digest, payload = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            _say(path, "its checksum does not match")
            continue
        try:
            state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError) as error:
            _say(path, str(error).splitlines()[0])
            continue
        return Checkpoint(_step_of(path), state)
    return None


def _newest_first(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted((path for path in directory.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def _step_of(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    assert found is not None
    return int(found.group(1))


def _say(path: Path, why: str) -> None:
    say(f"The checkpoint {path.name} is damaged ({why}); the one before it is used, if there is one.", style="yellow")
