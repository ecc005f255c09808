"""Documents that come with every CPython: the language reference and the standard library's docstrings.

    python:topics       pydoc_data.topics, one reStructuredText document per topic
    python:docstrings   one document per public module, a heading per public class, function and method:

                            # json
                            JSON (JavaScript Object Notation) is ...
                            ## json.dumps(obj, *, skipkeys=False, ...)
                            Serialize ``obj`` to a JSON formatted ``str``.

Sources are parsed with `ast`; nothing is imported. Tests, private modules and applications are left out.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.errors import DataError
from genwerk.core.progress import track
from genwerk.data.raw import RawDocument

LICENSE = "PSF-2.0"
_LEFT_OUT = frozenset(
    (
        "test", "tests", "idlelib", "lib2to3", "turtledemo", "encodings", "site-packages", "dist-packages",
        "lib-dynload", "pydoc_data", "this", "antigravity",
    )
)  # fmt: skip
_LONGEST_SIGNATURE = 120


@dataclass(frozen=True, slots=True)
class NamedDocument:
    """A raw document and the name of its source, `python:topics/with`."""

    source: str
    document: RawDocument


def read_topics() -> Iterator[NamedDocument]:
    """The language reference's pages."""
    topics: dict[str, str] = _topics()
    for name in sorted(topics):
        text = topics[name].strip("\n")
        title = text.split("\n", 1)[0]
        yield NamedDocument(f"python:topics/{name}", RawDocument(text, title=title, format="rst"))


def read_docstrings() -> Iterator[NamedDocument]:
    """The public docstrings of the standard library, one document per module that has any."""
    modules = stdlib_modules()
    with track("reading python:docstrings", total=len(modules), unit="modules") as bar:
        for module, path in modules:
            text = module_document(module, path.read_bytes())
            if text:
                yield NamedDocument(f"python:docstrings/{module}", RawDocument(text, title=module, format="docstrings"))
            bar.advance()


def fingerprint(name: str) -> str:
    """SHA-256 of what `python:topics` or `python:docstrings` reads."""
    total = hashlib.sha256()
    if name == "python:topics":
        for topic, text in sorted(_topics().items()):
            total.update(f"{topic}\0{text}\0".encode())
        return total.hexdigest()
    for module, path in stdlib_modules():
        total.update(module.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def stdlib_modules() -> list[tuple[str, Path]]:
    """Public modules of the standard library with their files, by name."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if _is_public(name)]
        package = Path(folder).relative_to(root).parts
        for name in files:
            stem, suffix = os.path.splitext(name)
            if suffix == ".py" and (_is_public(stem) or (stem == "__init__" and package)):
                module = ".".join(package if stem == "__init__" else (*package, stem))
                found.append((module, Path(folder, name)))
    if not found:
        raise DataError("the standard library's sources are not there", where=str(root), remedy="Use `python:topics`.")
    return sorted(found)


def module_document(module: str, source: bytes) -> str:
    """Markdown of the public docstrings of one module; empty when it has none or does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    parts = list(_described(tree, module, 2))
    own = _docstring(tree)
    return "\n\n".join([f"# {module}", *([own] if own else []), *parts]) + "\n" if parts or own else ""


def _is_public(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_") and name not in _LEFT_OUT


def _topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        remedy = "Install Python's documentation files, or name a folder of documents instead."
        raise DataError("this Python has no language reference (pydoc_data.topics)", remedy=remedy) from error
    return dict(topics)


def _described(node: ast.Module | ast.ClassDef, prefix: str, level: int) -> Iterator[str]:
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or child.name.startswith("_"):
            continue
        name = f"{prefix}.{child.name}"
        inner = list(_described(child, name, level + 1)) if isinstance(child, ast.ClassDef) else []
        docstring = _docstring(child)
        if docstring or inner:
            yield "\n\n".join([f"{'#' * min(level, 6)} {_signature(child, name)}", *([docstring] if docstring else [])])
            yield from inner


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip()


def _signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {name}"
    arguments = ast.unparse(node.args).replace("\n", " ")
    shown = arguments if len(arguments) <= _LONGEST_SIGNATURE else arguments[:_LONGEST_SIGNATURE].rstrip() + "..."
    return f"{name}({shown})"
