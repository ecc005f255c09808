"""Small rooms: how long files and functions may be, counted."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "genwerk"
FILES = sorted(PACKAGE.rglob("*.py"))
TRAINING_LOOPS = {"pretrain", "train_sft"}
FORBIDDEN_NAMES = {"utils", "helpers", "manager", "common", "v2", "legacy", "misc"}


def functions() -> list[tuple[str, str, int]]:
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append((str(path.relative_to(PACKAGE)), node.name, length))
    return found


def test_files_are_small() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert statistics.median(lengths.values()) <= 150
    assert not {str(path): n for path, n in lengths.items() if n > 400}


def test_functions_are_small() -> None:
    lengths = functions()
    too_long = [item for item in lengths if item[2] > (120 if item[1] in TRAINING_LOOPS else 80)]
    assert not too_long
    longer_than_forty = [item for item in lengths if item[2] > 40]
    assert len(longer_than_forty) <= len(lengths) / 10, longer_than_forty


def test_names_say_what_they_hold() -> None:
    assert not [path for path in FILES if path.stem in FORBIDDEN_NAMES or path.parent.name in FORBIDDEN_NAMES]


def test_every_module_says_what_it_is() -> None:
    assert not [str(p) for p in FILES if ast.get_docstring(ast.parse(p.read_text(encoding="utf-8"))) is None]


def test_no_swallowed_errors() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
                silent = all(isinstance(item, ast.Pass) for item in node.body)
                assert not (broad and silent), f"{path}:{node.lineno} swallows every error"
