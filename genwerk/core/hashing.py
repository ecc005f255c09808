"""Hashes of files, folders, values and of the code that makes an artifact.

`code_hash` reads source files only; it imports nothing, so a step that is found again never loads torch.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from genwerk.core.errors import WorkspaceError

_PACKAGE = "genwerk"
_PACKAGE_ROOT = Path(__file__).resolve().parents[1]
_PIECE = 2**26
_LAZY_STRING = re.compile(r"""["'](genwerk(?:\.\w+)+)(?::\w+)?["']""")

# Plumbing that cannot change what a step writes: a better progress bar must not retrain every model.
_PLUMBING = frozenset(
    f"{_PACKAGE}.core.{name}" for name in ("artifact", "errors", "events", "lock", "plan", "progress", "workspace")
)


def sha256_file(path: Path) -> str:
    """SHA-256 of the file's bytes, 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_pieces(path: Path) -> str:
    """SHA-256 of the SHA-256 of every 64 MB of the file, on all cores: for large files that are often checked."""
    size = Path(path).stat().st_size
    if size == 0:
        return hashlib.sha256().hexdigest()
    with (
        Path(path).open("rb") as file,
        mmap(file.fileno(), 0, access=ACCESS_READ) as memory,
        memoryview(memory) as whole,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        pieces = (whole[start : start + _PIECE] for start in range(0, size, _PIECE))
        digests = list(pool.map(lambda piece: hashlib.sha256(piece).digest(), pieces))
    return hashlib.sha256(b"".join(digests)).hexdigest()


def sha256_text(text: str) -> str:
    """SHA-256 of the text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest(obj: Any) -> str:
    """SHA-256 of the canonical JSON of `obj`: equal values, equal digest, in whatever order keys were put in."""
    return sha256_text(json.dumps(obj, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def tree_hashes(root: Path) -> dict[str, str]:
    """Relative path (with /) → SHA-256 of every file under `root`, sorted.

    Links to files count as their content. A link to a folder is not followed (loops) but counts by its target, and
    so do pipes and sockets, which are never opened.
    """
    root = Path(root)
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in names + links:
            path = Path(folder, name)
            found[path.relative_to(root).as_posix()] = _hash_entry(path)
    return dict(sorted(found.items()))


def _hash_entry(path: Path) -> str:
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return sha256_file(path)
    except (FileNotFoundError, OSError) as error:
        if not path.is_symlink():
            raise error
    return sha256_text(f"link {os.readlink(path)}" if path.is_symlink() else "special file")


@dataclass(frozen=True, slots=True)
class FunctionName:
    """Where a step function lives: `module:qualname`, and the source file of the module."""

    module: str
    qualname: str
    file: Path

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}"


def name_function(function: Callable[..., Any] | str) -> FunctionName:
    """Name a module-level function given as itself or as "package.module:function", without importing anything.

    Raises WorkspaceError for what cannot be named (lambdas, partials, functions that close over variables).
    """
    if isinstance(function, str):
        module, _, qualname = function.partition(":")
        if not qualname.isidentifier():
            raise _unnameable(f"`{function}`", 'Write it as "genwerk.package.module:function".')
        return FunctionName(module, qualname, _source_file(module))
    shown = getattr(function, "__qualname__", repr(function))
    if isinstance(function, partial) or not hasattr(function, "__qualname__") or "<lambda>" in shown:
        raise _unnameable(f"`{shown}`", "Write a plain function with `def` and put its settings in the config.")
    if getattr(function, "__closure__", None):
        held = ", ".join(function.__code__.co_freevars)
        raise _unnameable(
            f"`{shown}` closes over {held}, which its artifact could not record",
            "Move it to the top of its module and pass those in the config or as inputs.",
        )
    return FunctionName(function.__module__, shown, _source_file(function.__module__))


def _unnameable(what: str, remedy: str) -> WorkspaceError:
    return WorkspaceError(f"a step function must be a plain function of a module: {what}", remedy=remedy)


def code_hash(function: Callable[..., Any] | str) -> str:
    """Hash of the source of the function's module and of every genwerk module it imports, at any depth.

    Imports inside functions and names in strings ("genwerk.x.y:z") count; those under TYPE_CHECKING do not. Files
    beside a module that are no Python (templates, C++ sources) count as part of it.
    """
    name = name_function(function)
    sources = {name.module: _read(name.file, name.module)}
    folders = {name.file.parent} if name.file.is_relative_to(_PACKAGE_ROOT) else set()
    waiting = list(sources[name.module].imports)
    while waiting:
        module = waiting.pop()
        file = _genwerk_file(module)
        if module in sources or module in _PLUMBING or file is None:
            continue
        sources[module] = _read(file, module)
        folders.add(file.parent)
        waiting.extend(sources[module].imports)
    beside = {path for folder in folders for path in _companions(folder)}
    kept = {path.relative_to(_PACKAGE_ROOT).as_posix(): sha256_file(path) for path in beside}
    return digest({module: source.sha256 for module, source in sources.items()} | kept)


@dataclass(frozen=True, slots=True)
class _Source:
    sha256: str
    imports: frozenset[str]


_SOURCES: dict[tuple[str, int, int], _Source] = {}


def _read(file: Path, module: str) -> _Source:
    status = file.stat()
    key = (str(file), status.st_mtime_ns, status.st_size)
    if key not in _SOURCES:
        text = file.read_text(encoding="utf-8")
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        imports = set(_LAZY_STRING.findall(text))
        for statement in _imports(ast.parse(text).body):
            imports.update(_imported(statement, package))
        _SOURCES[key] = _Source(sha256_text(text), frozenset(name for name in imports if name.startswith(_PACKAGE)))
    return _SOURCES[key]


def _companions(folder: Path) -> Iterator[Path]:
    """Files of a package's folder that are no Python, those of folders within that are no packages too."""
    for path in folder.iterdir():
        if path.name.startswith((".", "__pycache__")):
            continue
        if path.is_dir():
            if not (path / "__init__.py").exists():
                yield from _companions(path)
        elif path.suffix != ".py":
            yield path


def _imports(body: list[Any]) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
            continue
        test = getattr(node, "test", None)
        checking = "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))
        blocks = ("orelse",) if checking else ("body", "orelse", "finalbody", "handlers", "cases")
        for block in blocks:
            inner = getattr(node, block, None)
            if isinstance(inner, list):
                yield from _imports(inner)


def _imported(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
        return
    base = statement.module or ""
    if statement.level:
        parts = package.split(".")
        parent = ".".join(parts[: len(parts) - statement.level + 1])
        base = f"{parent}.{base}" if base else parent
    for alias in statement.names:
        inner = f"{base}.{alias.name}"
        yield inner if _genwerk_file(inner) is not None else base


def _genwerk_file(module: str) -> Path | None:
    first, *rest = module.split(".")
    if first != _PACKAGE:
        return None
    path = _PACKAGE_ROOT.joinpath(*rest)
    if rest and (file := path.with_suffix(".py")).is_file():
        return file
    file = path / "__init__.py"
    return file if file.is_file() else None


def _source_file(module: str) -> Path:
    file = _genwerk_file(module)
    if file is None and module in sys.modules:
        known = getattr(sys.modules[module], "__file__", None)
        file = Path(known) if known else None
    if file is None and module not in sys.modules:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        file = Path(spec.origin) if spec is not None and spec.origin else None
    if file is None or not file.is_file():
        raise _unnameable(
            f"no source file for the module `{module}`", "Check its name; functions of a shell have none."
        )
    return file
