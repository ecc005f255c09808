"""Sources: each real file once, loops and outside links passed over, one hash for all of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from genwerk.core.errors import DataError
from genwerk.data.ledger import Ledger
from genwerk.data.python_docs import module_document, stdlib_modules
from genwerk.data.sources import list_files, source_fingerprint, source_labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "a.txt").write_text("a")
    (docs / "sub" / "b.md").write_text("b")
    return docs


def listing(*sources: Path) -> tuple[list[str], dict[str, str]]:
    ledger = Ledger()
    files = list_files([str(source) for source in sources], ledger)
    return [file.name for file in files], {entry.source: entry.rule for entry in ledger.entries}


def test_links_loops_and_special_files_are_passed_over_once_each(folder: Path, tmp_path: Path) -> None:
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "again.txt").symlink_to(folder / "a.txt")
    (folder / "twin").symlink_to(folder / "sub")
    (folder / "gone").symlink_to(folder / "nowhere")
    (tmp_path / "secret.txt").write_text("s")
    (folder / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (folder / ".git").mkdir()
    os.mkfifo(folder / "pipe")
    os.link(folder / "a.txt", folder / "hard.txt")
    names, rules = listing(folder)
    assert names == ["docs/a.txt", "docs/sub/b.md"]
    assert rules == {
        "docs/sub/up": "symlink loop", "docs/self": "symlink loop", "docs/again.txt": "same file",
        "docs/twin": "same folder", "docs/gone": "broken link", "docs/outside.txt": "link leads outside",
        "docs/.git": "hidden", "docs/pipe": "not a file", "docs/hard.txt": "same file",
    }  # fmt: skip


def test_a_file_named_twice_is_read_once(folder: Path) -> None:
    names, rules = listing(folder, folder / "a.txt")
    assert names == ["docs/a.txt", "docs/sub/b.md"]
    assert rules == {"a.txt": "same file"}


@pytest.mark.parametrize("name", ["missing", "python:nothing"])
def test_a_source_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(DataError, match=name):
        list_files([name], Ledger())


def test_an_empty_folder_says_what_to_put_into_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no files.*Put documents into it"):
        list_files([str(tmp_path)], Ledger())
    (tmp_path / ".hidden").write_text("x")
    with pytest.raises(DataError, match="1 hidden"):
        source_fingerprint([str(tmp_path)])


def test_labels_are_short_different_and_free_of_this_machine() -> None:
    assert source_labels(["/x/docs", "y/docs", "/z/docs/", "python:topics"]) == [
        "docs", "docs 2", "docs 3", "python:topics",
    ]  # fmt: skip


def test_an_edited_renamed_or_added_file_changes_the_fingerprint(folder: Path) -> None:
    seen = [source_fingerprint([str(folder)]).sha256]
    assert source_fingerprint([str(folder)]).sha256 == seen[0]
    (folder / "a.txt").write_text("edited")
    seen.append(source_fingerprint([str(folder)]).sha256)
    (folder / "a.txt").rename(folder / "c.txt")
    seen.append(source_fingerprint([str(folder)]).sha256)
    (folder / "d.txt").write_text("new")
    seen.append(source_fingerprint([str(folder), "python:topics"]).sha256)
    assert len(set(seen)) == 4


def test_the_fingerprint_is_the_same_wherever_the_folder_lies(folder: Path, tmp_path: Path) -> None:
    before = source_fingerprint([str(folder)]).sha256
    (tmp_path / "other").mkdir()
    folder.rename(tmp_path / "other" / "docs")
    assert source_fingerprint([str(tmp_path / "other" / "docs")]).sha256 == before


def test_standard_library_modules_are_public_ones() -> None:
    names = [name for name, _ in stdlib_modules()]
    assert {"json", "json.decoder", "os", "xml.etree.ElementTree"} <= set(names)
    assert not any(part.startswith("_") or part in {"test", "tests", "idlelib", "encodings"}
                   for name in names for part in name.split("."))  # fmt: skip


def test_docstrings_become_headings_in_order() -> None:
    source = b'''"""About m."""
def f(a, *, b=1):
    """Do f.

        indented
    Back.
    """
def _hidden(): "no"
class C:
    """A C."""
    def m(self): "Do m."
    def bare(self): pass
'''
    text = module_document("pkg.m", source)
    assert text.split("\n\n") == [
        "# pkg.m", "About m.", "## pkg.m.f(a, *, b=1)", "Do f.", "    indented\nBack.", "## class pkg.m.C", "A C.",
        "### pkg.m.C.m(self)", "Do m.\n",
    ]  # fmt: skip
    assert module_document("empty", b"x = 1") == ""
    assert module_document("broken", b"def (") == ""
