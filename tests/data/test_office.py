"""The extra `documents`: PDF, DOCX and EPUB give their text; damaged, empty and locked ones give a reason."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import docx
import pypdf
import pytest
from fpdf import FPDF

from genwerk.core.errors import DataError
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable
from genwerk.data.readers import READERS

CONTAINER = '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns="x" xmlns:dc="y"><metadata><dc:title>A book</dc:title></metadata><manifest>
<item id="b" href="two.xhtml"/><item id="a" href="one%20page.xhtml"/></manifest>
<spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""


def read(path: Path, **options: int) -> RawDocument | Unreadable:
    (found,) = READERS[path.suffix](path, ReadOptions(**options))
    return found


def write_pdf(path: Path, *pages: str) -> Path:
    pdf = FPDF()
    pdf.set_title("Pump manual")
    pdf.set_font("helvetica", size=12)
    for text in pages:
        pdf.add_page()
        if text:
            pdf.multi_cell(0, text=text)
    pdf.output(str(path))
    return path


def write_epub(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OEBPS/book.opf", PACKAGE)
        archive.writestr("OEBPS/one page.xhtml", "<html><body><h1>One</h1><p>First.</p></body></html>")
        archive.writestr("OEBPS/two.xhtml", "<html><body><p>Second.</p></body></html>")
    return path


def test_pdf_text_and_title(tmp_path: Path) -> None:
    found = read(write_pdf(tmp_path / "a.pdf", "Clean the filter weekly.", "Second page."))
    assert isinstance(found, RawDocument)
    assert (found.text, found.title) == ("Clean the filter weekly.\n\nSecond page.", "Pump manual")


def test_pdf_without_text_damaged_or_locked_says_so(tmp_path: Path) -> None:
    scan = read(write_pdf(tmp_path / "scan.pdf", ""))
    assert isinstance(scan, Unreadable) and (scan.rule, "text recognition" in scan.detail) == ("no text", True)
    path = write_pdf(tmp_path / "cut.pdf", "Text.")
    path.write_bytes(path.read_bytes()[:60])
    cut = read(path)
    assert isinstance(cut, Unreadable) and cut.rule == "damaged PDF"
    writer = pypdf.PdfWriter(clone_from=write_pdf(tmp_path / "x.pdf", "Secret."))
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    locked = read(tmp_path / "locked.pdf")
    assert isinstance(locked, Unreadable) and locked.rule == "encrypted PDF"


def test_docx_keeps_headings_lists_and_tables(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_heading("Care", 0)
    document.add_heading("Cleaning", 1)
    document.add_paragraph("Clean it weekly.")
    document.add_paragraph("one", style="List Bullet")
    table = document.add_table(1, 2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Part", "Price"
    document.save(str(tmp_path / "a.docx"))
    found = read(tmp_path / "a.docx")
    assert isinstance(found, RawDocument)
    assert found.text == "# Care\n\n## Cleaning\n\nClean it weekly.\n\n- one\n\n| Part | Price |"


def test_epub_follows_the_reading_order(tmp_path: Path) -> None:
    found = read(write_epub(tmp_path / "a.epub"))
    assert isinstance(found, RawDocument)
    assert (found.title, found.text) == ("A book", "# One\n\nFirst.\n\nSecond.")


@pytest.mark.parametrize("suffix", [".docx", ".epub"])
def test_archives_that_are_none_or_unpack_to_too_much_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"no archive")
    found = read(path)
    assert isinstance(found, Unreadable) and found.rule.startswith("damaged")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(1_000_000))
    bomb = read(path, max_bytes=10_000)
    assert isinstance(bomb, Unreadable) and bomb.rule == "too large"


@pytest.mark.parametrize(("suffix", "module"), [(".pdf", "pypdf"), (".docx", "docx")])
def test_a_missing_extra_is_an_error_that_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r"pip install genwerk\[documents\]"):
        read(path)
