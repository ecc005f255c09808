"""What can be done to an engine between two steps: change its adapters, keep what its prompts have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from genwerk.core.resident import forget_libraries, trim_heap
from genwerk.inference.adapters import Adapters
from genwerk.inference.blocks import BlockManager
from genwerk.inference.model_files import files_identity, files_sha256
from genwerk.inference.prefix_file import PrefixFile
from genwerk.inference.runner import Runner
from genwerk.inference.scheduler import Scheduler
from genwerk.inference.sequence import Sequence

__all__ = ["Upkeep"]

_RESTS = 100  # steps after which an engine gives memory back once no answer is in progress; it takes milliseconds


class Upkeep:
    """The part of an engine that nobody is answered by. All methods may be called from several threads."""

    runner: Runner
    blocks: BlockManager
    scheduler: Scheduler
    _adapters: Adapters
    _changed: threading.Condition
    _stepping: bool
    _cancelled: list[Sequence]
    _cache: PrefixFile | None = None
    file_hashes: dict[str | None, str]  # of the files of the model (None) and of adapters
    _guests = 0  # who waits to do something between two steps
    _onlookers = 0  # who waits for a token
    _steps = 0  # since memory was given back
    _rested = False
    _owed = False  # whether a guest has just been, so that a step comes first

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that may be asked for."""
        return self._adapters.names

    def add_adapter(self, name: str, path: Path) -> None:
        """Load an adapter in peft's format between two steps. Raises RequestError for a name in use, ModelError."""
        found = files_sha256(path)  # before, because others wait for the next step
        with self.between_steps():
            self._adapters.add(name, path)
            self.file_hashes[name] = found

    def remove_adapter(self, name: str) -> None:
        """Refuse an adapter from now on; answers that use it end with it. Raises RequestError if there is none."""
        with self._changed:
            self._adapters.remove(name)
            if not self._stepping:
                self._adapters.settle()

    def save_cache(self) -> None:
        """Keep what prompts have in common for the next start, if there is a `cache_file`. Raises WorkspaceError."""
        if self._cache is not None:
            with self.between_steps():
                self._cache.save(self.blocks, self._adapters.files)

    def _keep_prefixes(self, file: Path | None, model: Path, adapters: Mapping[str, Path]) -> None:
        self._adapters.files |= {name: files_identity(place) for name, place in adapters.items()}
        if file is not None:
            self._cache = PrefixFile(file, model, self.runner)
            self._cache.load(self.blocks, self._adapters.files)

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """No step is computed while the block runs. Guests and steps take turns where both wait."""
        with self._changed:
            self._guests += 1
            try:
                while self._stepping or self._owed:
                    self._changed.wait()
                self._stepping = True
            finally:
                self._guests -= 1
        try:
            yield
        finally:
            with self._changed:
                self._owed = self._onlookers > 0
                self._end_step()

    def _rest(self) -> None:
        """Where no answer is in progress, give back memory that the steps since the last rest do not need any more."""
        with self._changed:
            busy = self._stepping or self.scheduler.running or self.scheduler.waiting
            if self._steps < _RESTS or busy:
                return
            first, self._steps, self._rested = not self._rested, 0, True
        if first:
            forget_libraries()
        trim_heap()

    def _await_turn(self, ready: Callable[[], bool]) -> None:
        """Return, holding the lock, once something is `ready`, or the next step may be computed here."""
        self._onlookers += 1
        try:
            while (self._stepping or (self._guests and not self._owed)) and not ready():
                self._changed.wait()
        finally:
            self._onlookers -= 1
            self._owed = False
            if self._guests:
                self._changed.notify_all()

    def _end_step(self) -> None:
        with self._changed:
            self._stepping = False
            for gone in self._cancelled:
                self.scheduler.remove(gone)
            self._cancelled.clear()
            self._adapters.settle()
            self._changed.notify_all()
