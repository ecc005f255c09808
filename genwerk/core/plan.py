"""What is known of an artifact before it is made: its id; and what is checked of it when it is made."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.artifact import RECORD, Artifact, Source
from genwerk.core.config import Config
from genwerk.core.errors import WorkspaceError
from genwerk.core.hashing import FunctionName, code_hash, digest, name_function, sha256_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
Metrics = Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Plan:
    """One step to be found or made. `id` is a hash of all the rest but the kind."""

    id: str
    kind: str
    name: FunctionName
    code: str
    config: Config
    inputs: tuple[Artifact | Source, ...]


def plan_step(
    function: Callable[..., Metrics | None] | str,
    config: Config,
    inputs: tuple[Artifact | Source, ...],
    kind: str | None,
) -> Plan:
    name, code = name_function(function), code_hash(function)
    known = [item.id if isinstance(item, Artifact) else [item.name, item.sha256] for item in inputs]
    identity = digest([str(name), code, config.canonical(), known])[:16]
    word = check_name(kind or name.qualname.rpartition(".")[2], "kind of artifact")
    return Plan(identity, word, name, code, config, inputs)


def check_name(text: str, what: str) -> str:
    if not _NAME.fullmatch(text):
        raise WorkspaceError(f"`{text}` cannot name a {what}", remedy="Use letters, digits, `.`, `_` and `-`.")
    return text


def load_function(function: Callable[..., Metrics | None] | str) -> Callable[..., Metrics | None]:
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    loaded = getattr(importlib.import_module(module), name, None)
    if not callable(loaded):
        raise WorkspaceError(f"there is no function `{name}` in {module}", remedy="Check the name of the step.")
    return loaded  # type: ignore[no-any-return]


def plain_metrics(metrics: Metrics, plan: Plan) -> Metrics:
    """Metrics as plain numbers and words; numbers that JSON cannot hold (nan, inf) are written as words."""
    plain: dict[str, float | int | str] = {}
    for key, value in metrics.items():
        number = value.item() if hasattr(value, "item") else value
        if not isinstance(number, float | int | str):
            remedy = "Return numbers and words only; write the rest to a file in step.out."
            raise WorkspaceError(f"{plan.name} returned {type(value).__name__} as `{key}`", remedy=remedy)
        plain[str(key)] = str(number) if isinstance(number, float) and not math.isfinite(number) else number
    return plain


def hash_files(out: Path, plan: Plan) -> dict[str, str]:
    files = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()) or name == RECORD:
            what = (
                f"{plan.name} wrote `{name}`, which is reserved"
                if name == RECORD
                else f"{plan.name} left a link, `{name}`"
            )
            raise WorkspaceError(what, where=str(out), remedy="An artifact holds plain files only: copy it.")
        if path.is_file():
            files[name] = sha256_file(path)
    return files


def name_sources(inputs: tuple[Artifact | Source, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in inputs:
        if isinstance(item, Source):
            name, number = item.name, 1
            while found.get(name, item.sha256) != item.sha256:
                number += 1
                name = f"{item.name} ({number})"
            found[name] = item.sha256
    return found
