"""Reading ahead: the number of processes changes nothing in what is read, and none of them outlives its reader."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docx
import pytest
from fpdf import FPDF

from genwerk.data import guarded, read_ahead, still_file
from genwerk.data.guarded import GuardedReader
from genwerk.data.ledger import Ledger
from genwerk.data.prepare import PrepareConfig, read_documents
from genwerk.data.raw import ReadOptions, Unreadable
from genwerk.data.reading import SourceReader
from genwerk.data.sources import SourceFile, list_files
from genwerk.data.still_file import FileRead

PAGE = "<html><title>Pump {0}</title><body><p>Pump {0} is cleaned every week by hand.</p></body></html>"
DIES = "import os\nos._exit(7)\n"
HANGS = "import os\nos.open({!r}, os.O_WRONLY)\nos.read(os.pipe()[0], 1)\n"
"""It opens a pipe with a name, so that a test knows when it is read, and that it ended."""


def pdf(pages: int) -> bytes:
    made = FPDF()
    made.set_font("helvetica", size=12)
    for number in range(1, pages + 1):
        made.add_page()
        made.cell(text=f"Page {number}: the filter is cleaned once a week.")
    return bytes(made.output())


def word(text: str) -> bytes:
    document, buffer = docx.Document(), io.BytesIO()
    document.add_heading("Care", 1)
    document.add_paragraph(text)
    document.save(buffer)
    return buffer.getvalue()


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whole, broken, empty, locked and changing files, and one whose parser dies."""
    folder, modules = tmp_path / "mixed", tmp_path / "modules"
    for made in (folder, modules):
        made.mkdir()
    whole = {".pdf": pdf(3), ".docx": word("Oil the pump in spring and in autumn."), ".txt": b"Open the valve. " * 9}
    for number in range(4):
        for suffix, data in whole.items():
            (folder / f"{number}{suffix}").write_bytes(data)
        (folder / f"{number}.html").write_text(PAGE.format(number))
    broken = {
        "1-cut.pdf": whole[".pdf"][:200], "1-cut.docx": whole[".docx"][:200], "2-empty.pdf": b"", "2-empty.md": b"",
        "2-locked.docx": b"\xd0\xcf\x11\xe0" + bytes(600), "2-dies.pptx": b"any", "3-odd.zip": b"any",
        "3-zeros.txt": bytes(99), "3-changes.docx": whole[".docx"], "3-changes.txt": whole[".txt"],
    }  # fmt: skip
    for name, data in broken.items():
        (folder / name).write_bytes(data)
    (modules / "pptx.py").write_text(DIES)
    monkeypatch.syspath_prepend(str(modules))
    whole_hash = still_file.sha256_file

    def hash_and_change(path: Path) -> str:
        if "changes" in path.name:
            path.write_bytes(path.read_bytes() + b" ")
        return whole_hash(path)

    monkeypatch.setattr(still_file, "sha256_file", hash_and_change)
    monkeypatch.setattr(read_ahead, "_ENOUGH_HTML", 100)
    return folder


def test_the_number_of_processes_changes_nothing(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(read_ahead, "threads_to_use", lambda cores=cores: cores)
        ledger = Ledger()
        reader = SourceReader((str(mixed),), ReadOptions(), ledger)
        found.append((list(reader.read()), ledger.entries, reader.inputs()))
    assert found[0] == found[1]
    documents, entries, (record,) = found[0]
    assert [one.source for one in documents] == sorted(one.source for one in documents) and len(documents) == 16
    assert record.files == 21  # 16 that are whole, and five that were read to their end
    assert {entry.source.removeprefix("mixed/"): entry.rule for entry in entries} == {
        "1-cut.pdf": "damaged PDF", "1-cut.docx": "damaged DOCX", "2-empty.pdf": "empty file",
        "2-empty.md": "empty file", "2-locked.docx": "encrypted DOCX", "2-dies.pptx": "parser stopped",
        "3-odd.zip": "unsupported type", "3-zeros.txt": "binary content",
        "3-changes.docx": "changed while read", "3-changes.txt": "changed while read",
    }  # fmt: skip
    assert next(entry.detail for entry in entries if "dies" in entry.source).startswith("the parser ended with code 7")


class Counted(GuardedReader):
    """Nothing is parsed; who was asked to read what is kept."""

    asked: list[str]

    def read(self, path: Path, suffix: str, options: ReadOptions) -> list[still_file.Found]:
        self.asked.append(path.name)
        return [Unreadable("not parsed", path.name)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(Counted, "asked", [], raising=False)
    monkeypatch.setattr(read_ahead, "GuardedReader", Counted)
    return Counted.asked


def made(folder: Path, *names: str) -> list[SourceFile]:
    for name in names:
        (folder / name).write_text(PAGE.format(name))
    return list_files((str(folder),), Ledger())


def reading(files: list[SourceFile], n_readers: int) -> Iterator[tuple[SourceFile, FileRead]]:
    return read_ahead.read_ahead(files, ReadOptions(), lambda file, progress: None, n_readers=n_readers)


def test_text_and_code_and_a_little_html_are_read_here(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = made(tmp_path, *(f"{number}{suffix}" for number in range(9) for suffix in (".txt", ".md", ".html", ".py")))
    assert [file for file, _ in reading(files, 4)] == files
    assert asked == []
    monkeypatch.setattr(read_ahead, "_ENOUGH_HTML", 500)
    assert len(list(reading(files, 1))) == 36 and asked == []
    assert len(list(reading(files, 4))) == 36 and sorted(asked) == [f"{number}.html" for number in range(9)]


@pytest.mark.parametrize(("bytes_held", "most"), [(256_000_000, 17), (150, 2)])
def test_no_more_is_read_ahead_than_the_window_holds(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch, bytes_held: int, most: int
) -> None:
    monkeypatch.setattr(read_ahead, "_WINDOW_BYTES", bytes_held)
    files = made(tmp_path, *(f"{number:02}.pdf" for number in range(40)))
    for taken, (file, read) in enumerate(reading(files, 2)):
        assert [found.detail for found in read.found if isinstance(found, Unreadable)] == [file.path.name]
        assert taken < len(asked) <= taken + most
    assert sorted(asked) == [f"{number:02}.pdf" for number in range(40)]


def test_the_page_of_a_long_file_is_told_and_what_is_too_slow_is_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.pdf").write_bytes(pdf(30))
    files, told = list_files((str(tmp_path),), Ledger()), list[str]()

    def tell(file: SourceFile, progress: str) -> None:
        told.append(f"{file.path.name}: {progress}")

    slow = read_ahead.read_ahead(files, ReadOptions(max_seconds=0.0), tell, n_readers=2)
    rules = [found.rule for _, read in slow for found in read.found if isinstance(found, Unreadable)]
    assert rules == ["too slow"] * 3
    list(read_ahead.read_ahead(files, ReadOptions(), tell, n_readers=1))
    assert "a.pdf: page 30 of 30" in told


def test_an_error_is_raised_where_its_file_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> FileRead:
        raise ValueError("of the reader")

    files = made(tmp_path, "a.txt", "b.pdf")
    with monkeypatch.context() as patched:
        patched.setattr(GuardedReader, "read", refuse)
        coming = reading(files, 2)
        assert next(coming)[0].path.name == "a.txt"
        with pytest.raises(ValueError, match="of the reader"):
            next(coming)


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder of one file that is read and two whose parsers hang, and the pipe that both hold open."""
    folder, modules, pipe = tmp_path / "docs", tmp_path / "modules", tmp_path / "pipe"
    for made in (folder, modules):
        made.mkdir()
    os.mkfifo(pipe)
    (modules / "openpyxl.py").write_text(HANGS.format(str(pipe)))
    (folder / "a.txt").write_text("Open the valve before the pump is started, and close it afterwards.")
    for name in ("b", "c"):
        (folder / f"{name}.xlsx").write_bytes(word("Any archive will do."))
    monkeypatch.syspath_prepend(str(modules))
    return folder, pipe


def test_who_stops_asking_ends_all_processes(hanging: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, pipe = hanging
    monkeypatch.setattr(read_ahead, "threads_to_use", lambda: 2)
    started = list[subprocess.Popen[bytes]]()
    run = subprocess.Popen
    monkeypatch.setattr(guarded.subprocess, "Popen", lambda *a, **k: started.append(run(*a, **k)) or started[-1])
    coming = read_documents(PrepareConfig(sources=(str(folder),)))
    assert next(coming).source == "docs/a.txt"
    with pipe.open("rb") as held:  # opens when a parser hangs
        coming.close()
        assert held.read() == b""  # ends when all have ended
    assert started and all(process.poll() is not None for process in started)


def test_a_terminals_ctrl_c_does_not_reach_a_process_that_is_still_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    groups, popen = list[bool](), subprocess.Popen

    def run(*arguments: Any, **named: Any) -> subprocess.Popen[bytes]:
        process = popen(*arguments, **named)
        groups.append(os.getpgid(process.pid) == process.pid != os.getpgrp())
        return process

    monkeypatch.setattr(guarded.subprocess, "Popen", run)
    reader = GuardedReader()
    with pytest.raises(FileNotFoundError):
        reader.read(Path("none.pdf"), ".pdf", ReadOptions())
    reader.close()
    assert groups == [True]


AWAITED = "list(coming)"
HELD = "next(coming); input(); raise SystemExit(3)"
KILLED = "next(coming); input(); os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(("then", "code"), [(AWAITED, -signal.SIGINT), (HELD, 3), (KILLED, -signal.SIGKILL)])
def test_ctrl_c_and_the_end_of_python_end_all_processes(hanging: tuple[Path, Path], then: str, code: int) -> None:
    folder, pipe = hanging
    script = (
        "import os, signal; from genwerk.data.prepare import PrepareConfig, read_documents\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job is started without
        f"coming = read_documents(PrepareConfig(sources=({str(folder)!r},)))\n{then}\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "2"},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with pipe.open("rb") as held:
        if then == AWAITED:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        said = process.communicate(b"\n")[1].decode()
        assert held.read() == b""
    assert process.returncode == code
    assert said.count("Traceback") == (then == AWAITED)
