"""What a step takes and makes: sources, artifacts, and the record that says what an artifact is.

An artifact is a folder that never changes, with `artifact.json` beside its files. Its id is a hash of what it was made
from (function, code, config, inputs); `content_sha256` is a hash of what came out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.hashing import digest, sha256_file, tree_hashes

RECORD = "artifact.json"
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Source:
    """An input that is not made here: a folder, a file or an asset, known by the hash of its content."""

    name: str
    path: Path
    sha256: str

    @classmethod
    def of_file(cls, name: str, path: Path) -> Source:
        """Hash one file. Raises DataError when it is missing or cannot be read."""
        path = Path(path)
        if not path.is_file():
            raise DataError(f"no file at {path}", remedy="Check the path.")
        return cls(name, path, _readable(path, sha256_file))

    @classmethod
    def of_folder(cls, name: str, path: Path) -> Source:
        """Hash every file of a folder. Raises DataError when it is missing or cannot be read."""
        path = Path(path)
        if not path.is_dir():
            raise DataError(f"no folder at {path}", remedy="Check the path.")
        return cls(name, path, _readable(path, lambda folder: digest(tree_hashes(folder))))


def _readable(path: Path, hash_of: Any) -> str:
    try:
        return str(hash_of(path))
    except OSError as error:
        place = str(error.filename or path)
        raise DataError(f"{place} cannot be read: {error.strerror}", remedy="Check its permissions.") from error


@dataclass(frozen=True, slots=True)
class Artifact:
    """An immutable folder made by a step.

    parents   ids of the artifacts it was made from; `sources` are inputs from outside, name → sha256.
    files     relative path → SHA-256 of every file in it (`artifact.json` apart); `sizes` their bytes.
    function  `module:name` that made it; `code` the hash of its source and of all it imports from genwerk.
    created   UTC, ISO 8601. Not part of the content.
    """

    id: str
    kind: str
    path: Path
    parents: tuple[str, ...]
    config: Mapping[str, Any]
    metrics: Mapping[str, float | int | str]
    created: str
    files: Mapping[str, str]
    function: str
    code: str
    sources: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def content_sha256(self) -> str:
        """Digest of all files: the same bytes, the same digest, whenever and wherever it was made."""
        return digest(dict(self.files))

    def __str__(self) -> str:
        return f"{self.kind} {self.id[:8]}"


def artifact_record(artifact: Artifact) -> dict[str, Any]:
    """The JSON that stands in `artifact.json`; paths are relative, so that a workspace can be moved."""
    names = ("id", "kind", "function", "code", "created", "parents", "sources", "config", "metrics")
    record: dict[str, Any] = {name: getattr(artifact, name) for name in names}
    record["content_sha256"] = artifact.content_sha256
    record["files"] = {
        name: {"sha256": sha256, "bytes": artifact.sizes[name]} for name, sha256 in artifact.files.items()
    }
    return record


def read_artifact(path: Path) -> Artifact:
    """Read the artifact in folder `path`. Raises WorkspaceError when its record is missing or spoilt."""
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        files = {str(name): str(entry["sha256"]) for name, entry in record["files"].items()}
        return Artifact(
            id=str(record["id"]),
            kind=str(record["kind"]),
            path=path,
            parents=tuple(record["parents"]),
            config=dict(record["config"]),
            metrics=dict(record["metrics"]),
            created=str(record["created"]),
            files=files,
            function=str(record["function"]),
            code=str(record["code"]),
            sources=dict(record["sources"]),
            sizes={str(name): int(entry["bytes"]) for name, entry in record["files"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"the {RECORD} of {path.parent.name} {path.name[:8]}… is spoilt: {error}"
        remedy = "Run the recipe again; the step is made anew."
        raise WorkspaceError(what, where=str(path / RECORD), remedy=remedy) from error


def damage(artifact: Artifact) -> dict[str, str]:
    """What is wrong at first sight, file → problem: missing, or of another size. Reads no content, so it is fast."""
    problems = {}
    for name, size in artifact.sizes.items():
        try:
            found = os.stat(artifact.path / name).st_size
        except OSError:
            problems[name] = f"{name} is missing"
            continue
        if found != size:
            problems[name] = f"{name} has {found:,} bytes instead of {size:,}"
    return problems


def damage_in_content(artifact: Artifact) -> dict[str, str]:
    """All that is wrong, by reading every byte: also files of changed content and files that do not belong."""
    problems = damage(artifact)
    found = tree_hashes(artifact.path)
    for name, sha256 in artifact.files.items():
        if name in found and name not in problems and found[name] != sha256:
            problems[name] = f"{name} has changed: sha256 {found[name][:16]}… instead of {sha256[:16]}…"
    extra = sorted(set(found) - set(artifact.files) - {RECORD})
    return problems | {name: f"{name} does not belong to it" for name in extra}


def is_id(value: object) -> bool:
    """Whether `value` is a whole artifact id."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None
