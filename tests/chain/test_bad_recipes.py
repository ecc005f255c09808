"""A recipe that cannot run ends in one message that names the thing, the place and the remedy, and exit code 1."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from genwerk.core.errors import ConfigError
from genwerk.core.workspace import Workspace
from genwerk.recipe import Recipe, fetch_source, load_recipe
from genwerk.recipes.explain import choices
from genwerk.recipes.template import write_recipe


def genwerk(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "genwerk", *arguments], cwd=cwd, capture_output=True, text=True)


def recipe(folder: Path, text: str) -> Path:
    path = folder / "bad.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\ndocuments: ./docs\nretreival: {}\n", ("line 3", "retreival", "Did you mean `retrieval`")),
        ("name: a\ndocuments: ./docs\nretrieval:\n  chunk_char: 5\n", ("line 4", "chunk_char", "`chunk_chars`")),
        (
            "name: a\ndocuments: ./docs\nretrieval:\n  chunker: parent\n  around: 5\n",
            ("line 3", "around is for the chunker window", "the chunker is parent"),
        ),
        ("name: a\ndocuments: ./docs\ntune:\n  - sft: {rank: many}\n", ("line 4", "rank", "'many'")),
        ("name: a\ndocuments: ./docs\nserve: {port: 99999}\n", ("line 3", "port", "99999")),
        (
            "name: a\ndocuments: ./docs\nquantise: {precision: int4}\nserve: {precision: int8}\n",
            ("serve.precision", "quantised to int4", "Leave out"),
        ),
        (
            "name: a\ndocuments: ./docs\ndistill: {}\nserve: {engine: vllm}\n",
            ("serve.engine is vllm", "distill", "engine: native"),
        ),
        *(
            (f"name: a\ndocuments: ./docs\nserve: {{engine: {engine}, {asked}}}\n", (f"is {engine}", f"`serve.{key}`"))
            for engine, asked, key in (
                ("vllm", "window: 64, precision: float32", "window"),
                ("vllm", "sinks: 4", "sinks"),
                ("vllm", "keep_prefixes: true", "keep_prefixes"),
                ("vllm", "cache_precision: int8", "cache_precision"),
                ("torch", "cache_precision: int8", "cache_precision"),
            )
        ),
        ("documents: ./docs\n", ("name",)),
        ("name: a\ndocuments: [\n", ("not valid YAML", "line")),
        ("- a\n- b\n", ("must be a mapping",)),
        ("name: a\ndocuments: ./docs\ngates: ['citation.valid == 1']\n", ("citations.valid",)),
    ],
)
def test_recipe_errors_name_line_key_and_nearest_name(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe(tmp_path, text))
    for word in words:
        assert word in str(caught.value)


def test_missing_recipe_and_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="genwerk init"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="no model called `smollm3`"):
        fetch_source("smollm3")


def test_command_prints_one_message_and_no_traceback(tmp_path: Path) -> None:
    result = genwerk("run", str(recipe(tmp_path, "name: a\ndocuments: ./none\n")), cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr and "none" in result.stderr.splitlines()[-1]


def test_empty_folder_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = genwerk("run", str(recipe(tmp_path, "name: a\ndocuments: ./empty\n")), cwd=tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "empty" in result.stderr.splitlines()[-1]


def test_second_run_on_one_workspace_names_the_first(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("A sentence that is long enough to be kept by the filters. " * 20)
    path = recipe(tmp_path, "name: a\ndocuments: ./docs\n")
    workspace = Workspace(tmp_path / ".genwerk")
    with workspace.lock():
        result = genwerk("run", str(path), cwd=tmp_path)
    assert result.returncode == 1
    assert str(os.getpid()) in result.stderr.splitlines()[-1]


def test_serving_before_anything_is_promoted_says_so(tmp_path: Path) -> None:
    result = genwerk("serve", cwd=tmp_path)
    assert result.returncode == 1 and "nothing has been promoted" in result.stderr


def test_init_writes_a_recipe_that_loads_and_shows_every_choice(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    path = write_recipe("handbook", [str(tmp_path / "docs")], tmp_path)
    loaded, text = load_recipe(path), path.read_text(encoding="utf-8")
    assert loaded == Recipe.parse(loaded.model_dump())
    for choice in choices(loaded):
        assert f"{choice.path[-1]}:" in text, choice.path
    with pytest.raises(ConfigError, match="--force"):
        write_recipe("handbook", [str(tmp_path / "docs")], tmp_path)
