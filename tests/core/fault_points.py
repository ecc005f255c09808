"""Run something that stops, in the way asked for, at its n-th change of the disk: every moment a kill could hit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHANGES = ("write", "pwrite", "ftruncate", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir")


class Faults:
    """Counts changes of the disk; at number `at` (from 1) it calls `fail` before the change is made."""

    def __init__(self, at: int, fail: Callable[[], None]) -> None:
        self.count, self.at, self._fail = 0, at, fail

    def change(self) -> None:
        self.count += 1
        if self.count == self.at:
            self._fail()


@contextmanager
def faults(at: int, fail: Callable[[], None], changes: tuple[str, ...] = CHANGES) -> Iterator[Faults]:
    """Within the block the functions of `os` that change the disk are counted, and fail once."""
    counted = Faults(at, fail)
    with pytest.MonkeyPatch.context() as patch:
        for name in changes:
            patch.setattr(os, name, _watched(getattr(os, name), counted))
        yield counted


def _watched(original: Callable[..., Any], counted: Faults) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        counted.change()
        return original(*args, **kwargs)

    return call
