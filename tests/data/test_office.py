"""The extra `documents`: DOCX, PPTX, XLSX and EPUB give their text with its places; empty and locked ones a reason."""

from __future__ import annotations

import datetime
import sys
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pypdf
import pytest
from fpdf import FPDF

from genwerk.core.errors import DataError
from genwerk.data import workbooks
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable
from genwerk.data.readers import READERS

CONTAINER = '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns="x" xmlns:dc="y"><metadata><dc:title>A book</dc:title></metadata><manifest>
<item id="b" href="two.xhtml"/><item id="a" href="one%20page.xhtml"/></manifest>
<spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""


def read(path: Path, **options: int) -> RawDocument | Unreadable:
    (found,) = READERS[path.suffix](path, ReadOptions(**options))
    return found


def places(raw: RawDocument) -> list[tuple[str, str]]:
    return [(place.label, raw.text[place.start :].split("\n")[0]) for place in raw.places]


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
    table = document.add_table(2, 2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Part", "Price"
    table.rows[1].cells[0].merge(table.rows[1].cells[1]).text = "over both"
    document.save(str(tmp_path / "a.docx"))
    found = read(tmp_path / "a.docx")
    assert isinstance(found, RawDocument)
    assert found.text == "# Care\n\n## Cleaning\n\nClean it weekly.\n\n- one\n\n| Part | Price |\n| over both |"


def test_slides_have_titles_lists_tables_and_notes_in_their_places(tmp_path: Path) -> None:
    deck = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Pump care"
    first.placeholders[1].text = "Clean it\nOil it"
    first.notes_slide.notes_text_frame.text = "Say why."
    deck.slides.add_slide(deck.slide_layouts[6])
    third = deck.slides.add_slide(deck.slide_layouts[5])
    third.shapes.title.text = "Prices"
    cells = third.shapes.add_table(1, 2, 0, 5_000_000, 100, 100).table.rows[0].cells
    cells[0].text, cells[1].text = "Filter", "12"
    deck.save(str(tmp_path / "a.pptx"))
    found = read(tmp_path / "a.pptx")
    assert isinstance(found, RawDocument)
    assert found.text == "# Pump care\n\n- Clean it\n- Oil it\n\nNotes: Say why.\n\n# Prices\n\n| Filter | 12 |"
    assert places(found) == [("slide 1", "# Pump care"), ("slide 3", "# Prices")]


def write_workbook(path: Path, rows: int = 2) -> Path:
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    book.active.append(["Part", "Price", "Since", None])
    for number in range(1, rows + 1):
        book.active.append(
            [f"Filter {number}", number + 0.5 * (number % 2), datetime.datetime(2024, 1, number % 28 + 1)]
        )
    book.create_sheet("Empty")
    book.create_sheet("Notes").append(["a|b\nc", True])
    book.save(path)
    return path


def test_sheets_are_tables_of_values_under_their_names(tmp_path: Path) -> None:
    found = read(write_workbook(tmp_path / "a.xlsx"))
    assert isinstance(found, RawDocument)
    assert found.text == (
        "# Prices\n\n| Part | Price | Since |\n| Filter 1 | 1.5 | 2024-01-02 |\n| Filter 2 | 2 | 2024-01-03 |\n\n"
        "# Notes\n\n| a/b c | True |"
    )
    assert places(found) == [("sheet Prices", "# Prices"), ("sheet Notes", "# Notes")]


def test_a_large_workbook_is_cut_between_rows_and_keeps_every_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbooks, "LONGEST", 300)
    path = write_workbook(tmp_path / "a.xlsx", rows=40)
    found = [one for one in READERS[".xlsx"](path, ReadOptions()) if isinstance(one, RawDocument)]
    rows = [line for one in found for line in one.text.split("\n") if line.startswith("| Filter")]
    assert [row.split(" | ")[0] for row in rows] == [f"| Filter {number}" for number in range(1, 41)]
    assert len(found) > 3 and all(one.text.startswith("# Prices\n\n| Part | Price") for one in found[:-1])
    assert found[0].part.startswith("Prices row 1 to Prices row ") and found[-1].part.endswith("to Notes row 1")
    assert all(len(one.text) < 500 for one in found)


def test_epub_follows_the_reading_order(tmp_path: Path) -> None:
    found = read(write_epub(tmp_path / "a.epub"))
    assert isinstance(found, RawDocument)
    assert (found.title, found.text) == ("A book", "# One\n\nFirst.\n\nSecond.")
    assert places(found) == [("chapter One", "# One"), ("chapter 2", "Second.")]


@pytest.mark.parametrize(
    ("suffix", "module"), [(".pdf", "pypdf"), (".docx", "docx"), (".pptx", "pptx"), (".xlsx", "openpyxl")]
)
def test_a_missing_extra_is_an_error_that_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r"pip install genwerk\[documents\]"):
        read(path)
