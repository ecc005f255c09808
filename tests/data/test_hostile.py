"""Hostile and broken files end in an entry of the ledger: never in another error, never in a hang."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from functools import cache
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from fpdf import FPDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from genwerk.data.guarded import GuardedReader
from genwerk.data.ledger import Ledger
from genwerk.data.pdf import read_pdf
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable
from genwerk.data.readers import GUARDED, READERS
from genwerk.data.reading import SourceReader

LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)
PACKED = (".docx", ".pptx", ".xlsx", ".epub")


@cache
def valid(suffix: str) -> bytes:
    """A small whole file."""
    buffer = io.BytesIO()
    if suffix == ".pdf":
        pdf = FPDF()
        pdf.set_font("helvetica", size=12)
        pdf.add_page()
        pdf.multi_cell(0, text="Clean the filter weekly.")
        pdf.output(buffer)
    elif suffix == ".docx":
        document = docx.Document()
        document.add_paragraph("Clean the filter weekly.")
        document.save(buffer)
    elif suffix == ".pptx":
        deck = pptx.Presentation()
        deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "Clean it"
        deck.save(buffer)
    elif suffix == ".xlsx":
        book = openpyxl.Workbook()
        book.active.append(["Filter", 12])
        book.save(buffer)
    elif suffix == ".epub":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("META-INF/container.xml", '<c><rootfile full-path="b.opf"/></c>')
            archive.writestr("b.opf", '<p><item id="a" href="a.html"/><itemref idref="a"/></p>')
            archive.writestr("a.html", "<p>Clean the filter weekly.</p>")
    elif suffix in {".eml", ".mbox"}:
        message = EmailMessage()
        message["Subject"], message["From"] = "Filter", "eva@example.org"
        message.set_content("Clean it.")
        message.add_attachment(valid(".docx"), maintype="application", subtype="x", filename="a.docx")
        return (b"From eva Mon Sep  2 10:00:00 2024\n" if suffix == ".mbox" else b"") + message.as_bytes()
    else:
        Image.new("RGB", (8, 8)).save(buffer, format="PNG")
    return buffer.getvalue()


def read(folder: Path, suffix: str, data: bytes, **options: int) -> list[RawDocument | Unreadable]:
    path = folder / f"file{suffix}"
    path.write_bytes(data)
    return list(READERS[suffix](path, ReadOptions(**options)))


def repacked(data: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "suffix", sorted(GUARDED - {".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".xlsm"})
)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_anywhere_or_with_flipped_bytes_is_read_or_named(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    whole = bytearray(valid(suffix))
    for position in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=12)):
        whole[position] ^= data.draw(st.integers(1, 255))
    found = read(tmp_path, suffix, bytes(whole[: data.draw(st.integers(1, len(whole)))]))
    assert found
    assert all(isinstance(one, RawDocument) or (one.rule and one.detail) for one in found)


@pytest.mark.parametrize("suffix", PACKED)
def test_entities_are_refused_wherever_they_are_declared(tmp_path: Path, suffix: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        data = repacked(valid(suffix), lambda name, part: LAUGHS.encode(encoding) + part)  # noqa: B023
        (found,) = read(tmp_path, suffix, data)
        assert isinstance(found, Unreadable) and found.rule == "hostile XML"


@pytest.mark.parametrize("suffix", PACKED)
def test_archives_that_are_none_or_unpack_to_too_much_are_refused(tmp_path: Path, suffix: str) -> None:
    (found,) = read(tmp_path, suffix, b"no archive")
    assert isinstance(found, Unreadable) and found.rule.startswith("damaged")
    (found,) = read(tmp_path, suffix, b"\xd0\xcf\x11\xe0" + bytes(600))
    assert isinstance(found, Unreadable) and found.rule.startswith("encrypted")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.xml", bytes(1_000_000))
    (found,) = read(tmp_path, suffix, buffer.getvalue(), max_bytes=10_000)
    assert isinstance(found, Unreadable) and found.rule == "too large"
    (found,) = read(tmp_path, suffix, buffer.getvalue(), max_bytes=200_000)
    assert isinstance(found, Unreadable) and found.rule == "too large" and "bomb.xml" in found.detail


def test_a_lie_about_the_unpacked_size_gains_nothing(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.xml", bytes(5_000_000))
    lying = buffer.getvalue().replace(struct.pack("<I", 5_000_000), struct.pack("<I", 10))
    (found,) = read(tmp_path, ".docx", lying, max_bytes=100_000)
    assert isinstance(found, Unreadable) and found.rule in {"damaged DOCX", "too large"}


def test_an_archive_inside_of_an_archive_is_not_unpacked(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(50_000_000))
    buffer = io.BytesIO(valid(".docx"))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("word/nested.zip", bomb.getvalue())
    (found,) = read(tmp_path, ".docx", buffer.getvalue(), max_bytes=2_000_000)
    assert isinstance(found, RawDocument) and found.text == "Clean the filter weekly."


def test_html_with_entities_of_its_own_stays_small(tmp_path: Path) -> None:
    (found,) = read(tmp_path, ".html", (LAUGHS + "<p>&c; text of the page</p>").encode())
    assert isinstance(found, RawDocument) and len(found.text) < 1000


def test_a_slow_file_ends_in_the_ledger_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(valid(".pdf"))
    reader = GuardedReader()
    try:
        (slow,) = reader.read(path, ".pdf", ReadOptions(max_seconds=0.0))
        assert isinstance(slow, Unreadable) and slow.rule == "too slow" and "data.max_file_seconds" in slow.detail
        (found,) = reader.read(path, ".pdf", ReadOptions())
        assert isinstance(found, RawDocument) and found.text == "Clean the filter weekly."
        with pytest.raises(FileNotFoundError):
            reader.read(tmp_path / "absent.pdf", ".pdf", ReadOptions())
        assert reader._process is not None
        reader._process.kill()
        reader._process.wait()
        assert reader.read(path, ".pdf", ReadOptions()) == [found]
    finally:
        reader.close()


def test_every_broken_format_in_one_folder_costs_itself_only(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for suffix in (*PACKED, ".pdf", ".eml"):
        (docs / f"cut{suffix}").write_bytes(valid(suffix)[:100])
    (docs / "good.docx").write_bytes(valid(".docx"))
    (docs / "zeros.txt").write_bytes(bytes(500))
    ledger = Ledger()
    reader = SourceReader((str(docs),), ReadOptions(), ledger)
    assert [read.source for read in reader.read() if "cut.eml" not in read.source] == ["docs/good.docx"]
    dropped = {entry.source: entry.rule for entry in ledger.dropped()}
    assert dropped == {
        "docs/cut.docx": "damaged DOCX", "docs/cut.epub": "damaged EPUB", "docs/cut.pdf": "damaged PDF",
        "docs/cut.pptx": "damaged PPTX", "docs/cut.xlsx": "damaged XLSX", "docs/zeros.txt": "binary content",
    }  # fmt: skip


def test_ten_thousand_pages_are_read_and_each_keeps_its_number(tmp_path: Path) -> None:
    path, pdf = tmp_path / "long.pdf", FPDF()
    pdf.set_font("helvetica", size=12)
    for number in range(1, 10_001):
        pdf.add_page()
        pdf.cell(text=f"Pump {number} is reset with key {7 * number}.")
    pdf.output(str(path))
    (read,) = read_pdf(path, ReadOptions())
    assert isinstance(read, RawDocument)
    for number in (1, 2, 999, 10_000):
        at = read.text.index(f"Pump {number} is reset with key {7 * number}.")
        assert [place.label for place in read.places if place.start <= at][-1] == f"page {number}"
