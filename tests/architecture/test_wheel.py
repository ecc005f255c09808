"""An installed package holds all that a checkout does: kernels' sources, the page, recipes, templates."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "genwerk"


def test_every_file_beside_the_code_is_named_as_package_data() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["genwerk"]
    named = {file for pattern in patterns for file in PACKAGE.glob(pattern)}
    there = {
        file
        for file in PACKAGE.rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc") and "__pycache__" not in file.parts
    }
    assert sorted(str(file.relative_to(PACKAGE)) for file in there - named) == []
    assert all(any(PACKAGE.glob(pattern)) for pattern in patterns)


def test_every_folder_with_code_is_a_package() -> None:
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
