"""Adapters that come and go while answers are in progress.

A removed adapter is refused to new requests at once, stays for the answers that use it, and leaves the runner with the
last of them. What the prefix cache holds of it is forgotten then, so another adapter may take the name.

Left out: a name that is taken again while answers still use the old adapter (refused until they have ended).
Try it:   pytest tests/inference/test_adapters.py
"""

from __future__ import annotations

from pathlib import Path

from genwerk.core.errors import RequestError
from genwerk.inference.blocks import BlockManager
from genwerk.inference.limits import check_adapter, check_new_adapter
from genwerk.inference.model_files import files_identity
from genwerk.inference.runner import Runner
from genwerk.inference.scheduler import Scheduler

__all__ = ["Adapters"]


class Adapters:
    """The adapters of a runner. Not safe among threads; `add` and `settle` may not run while a step is computed.

    files   identity of an adapter's files, by its name, where it was read from some
    """

    def __init__(self, runner: Runner, blocks: BlockManager, scheduler: Scheduler) -> None:
        self._runner, self._blocks, self._scheduler = runner, blocks, scheduler
        self._leaving: list[str] = []
        self.files: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Those that may be asked for."""
        return tuple(name for name in self._runner.adapters if name not in self._leaving)

    def check(self, name: str | None) -> None:
        """Raise RequestError (404) for an adapter that may not be asked for."""
        check_adapter(name, self.names)

    def add(self, name: str, path: Path) -> None:
        """Read an adapter in peft's format. Raises RequestError for a name in use, ModelError for files that do not
        fit."""
        if name in self._leaving:
            what, remedy = f"answers in progress still use the old adapter {name!r}", "Try again when they have ended."
            raise RequestError(what, param="adapter", status=409, code="adapter_in_use", remedy=remedy)
        check_new_adapter(name, self._runner.adapters)
        self._runner.add_adapter(name, path)
        self.files[name] = files_identity(path)

    def remove(self, name: str) -> None:
        """Refuse `name` from now on; `settle` drops it. Raises RequestError if there is none."""
        self.check(name)
        self._leaving.append(name)

    def settle(self) -> None:
        """Drop those that were removed and are not in use any more."""
        for name in [one for one in self._leaving if not self._scheduler.uses(one)]:
            self._runner.remove_adapter(name)
            self._blocks.forget(name)
            self._leaving.remove(name)
            self.files.pop(name, None)
