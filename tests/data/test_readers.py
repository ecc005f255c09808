"""Readers of whole files and of records: what is in them comes out, and every fault is named by file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from genwerk.data.raw import RawDocument, ReadOptions, Unreadable
from genwerk.data.readers import GUARDED, READERS
from genwerk.data.records import choose_column


def read(path: Path, data: bytes | str = b"", **options: object) -> list[RawDocument | Unreadable]:
    if data:
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(READERS[path.suffix](path, ReadOptions(**options)))  # type: ignore[arg-type]


def texts(found: list[RawDocument | Unreadable]) -> list[str]:
    return [one.text for one in found if isinstance(one, RawDocument)]


def faults(found: list[RawDocument | Unreadable]) -> list[tuple[str, str]]:
    return [(one.part, one.rule) for one in found if isinstance(one, Unreadable)]


@pytest.mark.parametrize("suffix", sorted(READERS.keys() - GUARDED - {".parquet"}))
def test_every_reader_of_text_refuses_binary_data_and_goes_on(tmp_path: Path, suffix: str) -> None:
    found = read(tmp_path / f"file{suffix}", b"\x89PNG\r\n\x1a\n" + bytes(200))
    assert [one.rule for one in found if isinstance(one, Unreadable)] == ["binary content"]
    assert texts(found) == []


@pytest.mark.parametrize("suffix", [".txt", ".md", ".rst", ".py", ".html"])
def test_whole_files_are_read_in_bounded_memory(tmp_path: Path, suffix: str) -> None:
    found = read(tmp_path / f"file{suffix}", "word " * 300, max_bytes=1000)
    assert faults(found) == [("", "too large")]
    assert "data.max_file_bytes" in found[0].detail  # type: ignore[union-attr]


def test_markdown_front_matter_gives_the_title(tmp_path: Path) -> None:
    (found,) = read(tmp_path / "a.md", '---\ntitle: "Pump care"\nx: 1\n---\n# Head\n\nText.')
    assert isinstance(found, RawDocument)
    assert (found.title, found.text, found.format) == ("Pump care", "# Head\n\nText.", "markdown")


def test_python_keeps_its_declared_encoding_and_docstring_title(tmp_path: Path) -> None:
    source = '# -*- coding: iso-8859-15 -*-\n"""Price in €.\n\nMore."""\n'
    (found,) = read(tmp_path / "a.py", source.encode("iso-8859-15"))
    assert isinstance(found, RawDocument)
    assert (found.title, found.format) == ("Price in €", "python")
    assert found.notes == (("encoding", "read as iso-8859-15, as declared"),)


def test_html_is_read_as_its_meta_tag_says(tmp_path: Path) -> None:
    page = '<html><head><meta charset="windows-1251"></head><body><p>Привет</p></body></html>'
    assert texts(read(tmp_path / "a.html", page.encode("cp1251"))) == ["Привет"]
    assert texts(read(tmp_path / "b.html", "<p>Grüße</p>")) == ["Grüße"]
    assert faults(read(tmp_path / "c.html", "<script>x</script>")) == [("", "no text")]


def test_jsonl_names_the_lines_it_leaves_out(tmp_path: Path) -> None:
    lines = ['{"text": "one", "title": "T"}', "", "{broken", "[1]", '{"text": ""}', '{"text": 5}', '{"note": "two"}']
    found = read(tmp_path / "a.jsonl", "\n".join(lines) + "\n")
    assert texts(found) == ["one", "two"]
    assert isinstance(found[0], RawDocument) and (found[0].title, found[0].part) == ("T", "line 1")
    assert faults(found) == [
        ("line 3", "invalid JSON"), ("line 4", "invalid JSON"), ("line 5", "no text"), ("line 6", "no text"),
    ]  # fmt: skip


def test_a_configured_column_is_the_only_one_taken(tmp_path: Path) -> None:
    line = json.dumps({"text": "wrong", "abstract": "right"})
    assert texts(read(tmp_path / "a.jsonl", line, text_column="abstract")) == ["right"]
    found = read(tmp_path / "b.jsonl", "\n".join([line] * 500), text_column="absent")
    assert faults(found) == [("line 1", "no text column"), ("", "no text column")]
    assert "499 more lines" in found[1].detail  # type: ignore[union-attr]


def test_an_endless_jsonl_line_is_skipped_in_bounded_memory(tmp_path: Path) -> None:
    data = '{"text": "' + "x" * 5000 + '"}\n{"text": "kept"}\n'
    found = read(tmp_path / "a.jsonl", data, max_bytes=1000)
    assert texts(found) == ["kept"]
    assert faults(found) == [("line 1", "too large")]


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_csv_separators_quotes_and_line_numbers(tmp_path: Path, sign: str) -> None:
    data = f'id{sign}body\n1{sign}"two\nlines{sign}"\n2{sign}\n3{sign}last\n'
    found = read(tmp_path / "a.csv", data)
    assert texts(found) == [f"two\nlines{sign}", "last"]
    assert faults(found) == [("line 4", "no text")]


def test_csv_in_utf16_and_without_a_text_column(tmp_path: Path) -> None:
    assert texts(read(tmp_path / "a.csv", "text,n\nGrüße,1\n".encode("utf-16"))) == ["Grüße"]
    found = read(tmp_path / "b.csv", "a,b\nx,y\nx,y\n")
    assert faults(found) == [("line 2", "no text column")]
    assert "found a, b" in found[0].detail  # type: ignore[union-attr]
    assert faults(read(tmp_path / "c.csv", "text,n\n")) == [("", "no rows")]
    assert faults(read(tmp_path / "d.csv", "text\nok\n" + "x" * 3000 + "\nok\n", max_bytes=1000)) == [
        ("line 3", "too large")
    ]


def test_parquet_rows_and_faults(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"id": [1, 2], "content": ["one", None], "title": ["T", "U"]}), path)
    found = read(path)
    assert texts(found) == ["one"]
    assert isinstance(found[0], RawDocument) and (found[0].part, found[0].title) == ("row 1", "T")
    assert faults(found) == [("row 2", "no text")]
    parquet.write_table(arrow.table({"a": ["x"], "b": ["y"]}), path)
    assert faults(read(path)) == [("", "no text column")]
    path.write_bytes(path.read_bytes()[:40])
    assert faults(read(path)) == [("", "damaged Parquet")]


@pytest.mark.parametrize(
    ("names", "configured", "wanted"),
    [(["id", "Body"], "", "Body"), (["content", "text"], "", "text"), (["only"], "", "only"), (["a", "b"], "", ""),
     (["a", "text"], "a", "a"), (["text"], "b", "")],
)  # fmt: skip
def test_the_text_column_is_chosen_by_name(names: list[str], configured: str, wanted: str) -> None:
    assert choose_column(names, configured, ("text", "content", "body")) == wanted
