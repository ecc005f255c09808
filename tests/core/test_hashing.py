"""Hashes: what would break is an artifact found though its code or input changed, or made anew though nothing did."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core import hashing
from genwerk.core.errors import WorkspaceError
from genwerk.core.hashing import code_hash, digest, name_function, sha256_file, sha256_pieces, sha256_text, tree_hashes

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def plain(config: object, step: object) -> None:
    """A step function that can be named."""


def test_known_hashes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "abc") == known == sha256_text("abc")


def test_a_file_in_pieces_has_the_hash_of_their_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genwerk.core.hashing._PIECE", 4)
    for content in (b"", b"abcd", b"abcdefghij"):
        (tmp_path / "file").write_bytes(content)
        pieces = [hashlib.sha256(content[at : at + 4]).digest() for at in range(0, len(content), 4)]
        assert sha256_pieces(tmp_path / "file") == hashlib.sha256(b"".join(pieces)).hexdigest()


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=5), st.randoms())
def test_digest_knows_no_order_of_keys(values: dict[str, object], random: object) -> None:
    items = list(values.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert digest(dict(items)) == digest(values)


SCALARS = st.lists(st.none() | st.booleans() | st.integers(0, 3) | st.text("ab1", max_size=2), max_size=3)


@given(SCALARS, SCALARS)
def test_digest_tells_values_apart(a: list[object], b: list[object]) -> None:
    assert (digest(a) == digest(b)) == (repr(a) == repr(b))


def test_tree_hashes_see_names_content_and_links(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.txt").write_text("x")
    (tmp_path / "a.txt").write_text("x")
    os.symlink(tmp_path, tmp_path / "b" / "loop")
    os.symlink("nowhere", tmp_path / "broken")
    os.mkfifo(tmp_path / "pipe")
    found = tree_hashes(tmp_path)
    assert list(found) == ["a.txt", "b/loop", "b/x.txt", "broken", "pipe"]
    assert found["a.txt"] == found["b/x.txt"] == sha256_text("x")
    before = digest(found)
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    assert digest(tree_hashes(tmp_path)) != before


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in genwerk's place, small enough to change every file of it."""
    root = tmp_path / "genwerk"
    files = {
        "__init__.py": '"""Root."""\n',
        "a/__init__.py": '"""A."""\n',
        "a/step.py": "from genwerk.b import near\ndef make():\n    from genwerk.b.lazy import x\n    return x\n",
        "a/other.py": "VALUE = 1\n",
        "a/relative.py": "from .other import VALUE\ndef make(): ...\n",
        "a/typed.py": "import typing\nif typing.TYPE_CHECKING:\n    import genwerk.a.other\ndef make(): ...\n",
        "a/named.py": 'KINDS = {"x": "genwerk.a.other:VALUE"}\ndef make(): ...\n',
        "b/__init__.py": '"""B."""\n',
        "b/near.py": "import genwerk.b.deep\n",
        "b/deep.py": "import genwerk.a.step\nDEEP = 1\n",
        "b/lazy.py": "x = 1\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(hashing, "_PACKAGE_ROOT", root)
    return root


@pytest.mark.parametrize(
    ("function", "counts", "is_ignored"),
    [
        ("genwerk.a.step:make", ["a/step.py", "b/near.py", "b/deep.py", "b/lazy.py"], ["a/other.py", "b/__init__.py"]),
        ("genwerk.a.relative:make", ["a/relative.py", "a/other.py"], ["a/step.py"]),
        ("genwerk.a.typed:make", ["a/typed.py"], ["a/other.py"]),
        ("genwerk.a.named:make", ["a/named.py", "a/other.py"], ["b/lazy.py"]),
    ],
)
def test_code_hash_follows_what_is_imported(
    package: Path, function: str, counts: list[str], is_ignored: list[str]
) -> None:
    for name in counts + is_ignored:
        before = code_hash(function)
        with (package / name).open("a") as file:
            file.write("# changed, and longer\n")
        assert (code_hash(function) != before) == (name in counts), name


def test_code_hash_counts_templates_and_kernels_beside_a_module(package: Path) -> None:
    (package / "a" / "kernels").mkdir()
    for file in ("page.jinja", "kernels/step.h"):
        before = code_hash("genwerk.a.named:make")
        (package / "a" / file).write_text("one")
        added = code_hash("genwerk.a.named:make")
        (package / "a" / file).write_text("other")
        assert len({before, added, code_hash("genwerk.a.named:make")}) == 3, file


def test_a_better_progress_bar_does_not_change_the_code_of_a_step(package: Path) -> None:
    (package / "core").mkdir()
    (package / "core" / "progress.py").write_text("track = 1\n")
    (package / "a" / "step.py").write_text("from genwerk.core.progress import track\ndef make(): ...\n")
    before = code_hash("genwerk.a.step:make")
    (package / "core" / "progress.py").write_text("track = 2  # nicer\n")
    assert code_hash("genwerk.a.step:make") == before


def test_a_function_and_its_written_name_are_the_same() -> None:
    from genwerk.core.machine import probe

    assert str(name_function(probe)) == str(name_function("genwerk.core.machine:probe")) == "genwerk.core.machine:probe"
    assert code_hash(probe) == code_hash("genwerk.core.machine:probe")


def test_naming_a_step_imports_nothing() -> None:
    code = (
        "import sys; from genwerk.core.hashing import code_hash;"
        "code_hash('genwerk.core.checkpoint:save_checkpoint');"
        "assert 'genwerk.core.checkpoint' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_an_artifact_could_not_record_is_refused() -> None:
    held = 3

    def closure(config: object, step: object) -> int:
        return held

    for function in (closure, lambda config, step: None, partial(plain, 1), "genwerk.core.machine", "no.such:thing"):
        with pytest.raises(WorkspaceError) as caught:
            name_function(function)
        assert caught.value.remedy
    assert name_function(plain).qualname == "plain"
