"""Imports only go down: the floors of docs/architecture.md, read from every import, lazy ones too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "genwerk"
FLOORS = {
    "core": 0,
    "data": 1, "tokenizers": 1, "metrics": 1,
    "models": 2,
    "training": 3, "inference": 3,
    "alignment": 4, "generators": 4,
    "retrieval": 5, "guardrails": 5, "agents": 5, "monitoring": 5,
    "evaluation": 6,
    "serving": 7,
    "recipe": 8, "cli": 8, "recipes": 8, "commands": 8, "__main__": 9, "__init__": 0,
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    """Every genwerk module a file imports, wherever in the file, and string references `genwerk.x:y` too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("genwerk.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "genwerk":
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_of(name: str) -> Path | None:
    parts = name.split(".")[1:]
    while parts:
        base = PACKAGE.joinpath(*parts)
        if base.with_suffix(".py").is_file():
            return base.with_suffix(".py")
        if (base / "__init__.py").is_file():
            return base / "__init__.py"
        parts.pop()
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    assert here in FLOORS, f"{here} has no floor: give it one in {__file__} and docs/architecture.md"
    for name in imported_modules(path):
        target = module_of(name)
        there = room(target) if target else "__init__"
        if there in (here, "__init__"):
            continue
        sideways = FLOORS[there] == FLOORS[here] and FLOORS[here] < 8
        assert not sideways, f"{path} imports its neighbour {name}: take a callable instead"
        assert FLOORS[there] <= FLOORS[here], f"{path} (floor {FLOORS[here]}) imports {name} (floor {FLOORS[there]})"


def test_no_import_cycles() -> None:
    graph = {
        path: {target for name in imported_modules(path) if (target := module_of(name))} - {path} for path in FILES
    }
    done: set[Path] = set()

    def visit(path: Path, trail: tuple[Path, ...]) -> None:
        assert path not in trail, "cycle: " + " -> ".join(str(p.relative_to(PACKAGE)) for p in (*trail, path))
        if path in done:
            return
        for target in sorted(graph.get(path, ())):
            if target.name != "__init__.py":
                visit(target, (*trail, path))
        done.add(path)

    for path in FILES:
        visit(path, ())
