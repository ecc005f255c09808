"""Docs cannot lie: README commands exist with the options it shows, and docs/cli.md is the program's own."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from genwerk.cli import app
from genwerk.recipes.reference import command_reference

ROOT = Path(__file__).parents[2]
SHELL_BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S)
COMMANDS = [line.split("#")[0].strip() for block in SHELL_BLOCKS for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("genwerk ")])
def test_command_and_options_exist(command: str) -> None:
    words = shlex.split(command)[1:]
    name = words[0]
    result = subprocess.run([sys.executable, "-m", "genwerk", name, "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in result.stdout, f"README shows {option}, `genwerk {name}` does not know it"


@pytest.mark.parametrize("target", [line.split()[1] for line in COMMANDS if line.startswith("make ")])
def test_make_target_exists(target: str) -> None:
    assert subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True).returncode == 0


def test_command_reference_is_current() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == command_reference(app), "run `make docs`"


def test_links_in_the_documents_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.relative_to(ROOT)}: {target}"
