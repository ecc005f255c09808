"""What prompts had in common, kept for the next start: the findable blocks with their keys and values in one file.

    line 1   what the file is
    line 2   JSON: whose it is, the bytes of a block, and of each block its key and its adapter
    then     the blocks, as the runner gives them; last the sha256 of all before

Whose it is: the model's files, the runner with its precision and instruction set, and the code that computes. Blocks of
an adapter carry the identity of the adapter's files. A file that is damaged or somebody else's is said and ignored; it
is written again at the next end.

Chosen:   files are known by place, size and time, as packed weights are: reading half a gigabyte to hash it would take
          longer than what is saved.
Left out: blocks that were written while others were read: nothing answers while the file is made.
Try it:   pytest tests/inference/test_prefix_file.py
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from genwerk.core.atomic import explained
from genwerk.core.hashing import code_hash, digest
from genwerk.core.progress import say
from genwerk.inference.blocks import BlockManager, Known
from genwerk.inference.model_files import files_identity
from genwerk.inference.runner import Runner

__all__ = ["PrefixFile"]

_FORMAT = b"genwerk prefix cache 1\n"
_DIGEST = 32
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Header:
    """Line 2. `blocks` are rows of (key, adapter's name or None, adapter's identity), longest unused first."""

    identity: str
    size: int
    blocks: list[tuple[str, str | None, str]]

    def line(self) -> bytes:
        return json.dumps([self.identity, self.size, self.blocks]).encode() + b"\n"

    @classmethod
    def read(cls, file: BinaryIO) -> _Header:
        identity, size, blocks = json.loads(file.readline())
        return cls(identity, size, [(key, adapter, of) for key, adapter, of in blocks])


class PrefixFile:
    """The file at `path`, of the model in the folder `model` as `runner` computes it."""

    def __init__(self, path: Path, model: Path, runner: Runner) -> None:
        self.path, self._runner = path, runner
        code = code_hash("genwerk.inference.backend:load_runner")
        self._identity = digest([files_identity(model), runner.title, code])

    def save(self, blocks: BlockManager, adapters: Mapping[str, str]) -> None:
        """Write every findable block. Raises WorkspaceError (disk full, no permission); the old file stays then.

        adapters   identity of the files of each adapter by name; blocks of others are left out
        """
        known = [one for one in blocks.known() if one.adapter is None or one.adapter in adapters]
        rows = [(one.key.hex(), one.adapter, adapters.get(one.adapter or "", "")) for one in known]
        size = len(self._runner.read_blocks([known[0].block])) if known else 0
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}.tmp")
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    sealed = hashlib.sha256()
                    for piece in (_FORMAT, _Header(self._identity, size, rows).line(), *self._contents(known)):
                        sealed.update(piece)
                        file.write(piece)
                    file.write(sealed.digest())
                temporary.replace(self.path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise

    def load(self, blocks: BlockManager, adapters: Mapping[str, str]) -> int:
        """Put back what the file holds into blocks that are free, as far as they go; returns how many that were."""
        if not self.path.exists():
            return 0
        try:
            return self._load(blocks, adapters)
        except (OSError, ValueError, TypeError, IndexError) as error:
            say(f"{self.path} is damaged ({error}); it is ignored, and prompts are read again", style="yellow")
            for adapter in {one.adapter for one in blocks.known()}:
                blocks.forget(adapter)
            return 0

    def _load(self, blocks: BlockManager, adapters: Mapping[str, str]) -> int:
        _check_seal(self.path)
        with self.path.open("rb") as file:
            file.readline()
            header = _Header.read(file)
            if header.identity != self._identity:
                say(f"{self.path} is of another model, precision or version; it is ignored", style="yellow")
                return 0
            if header.blocks and header.size != len(self._runner.read_blocks([0])):
                raise ValueError("its blocks are of another size")
            start, found = file.tell(), 0
            surplus = max(0, len(header.blocks) - blocks.available)  # those used last come back
            for place, (key, adapter, identity) in enumerate(header.blocks):
                if place < surplus or (adapter is not None and adapters.get(adapter) != identity):
                    continue
                block = blocks.adopt(bytes.fromhex(key), adapter)
                if block is not None:
                    file.seek(start + place * header.size)
                    self._runner.write_blocks([block], file.read(header.size))
                    found += 1
        return found

    def _contents(self, known: list[Known]) -> Iterator[bytes]:
        for one in known:
            yield self._runner.read_blocks([one.block])


def _check_seal(path: Path) -> None:
    """Raise ValueError unless the file is whole."""
    left, sealed = path.stat().st_size - _DIGEST, hashlib.sha256()
    with path.open("rb") as file:
        if file.readline(len(_FORMAT)) != _FORMAT:
            raise ValueError("it does not begin as one")
        file.seek(0)
        while left > 0:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise ValueError("it is cut short")
            sealed.update(piece)
            left -= len(piece)
        if file.read() != sealed.digest():
            raise ValueError("its checksum does not match")
