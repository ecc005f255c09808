"""PDF: paragraphs, columns, tables and headings come back as they were set, and each page number stays exact."""

from __future__ import annotations

from pathlib import Path

import pypdf
import pytest
from fpdf import FPDF

from genwerk.core.events import EventLog
from genwerk.core.types import Document
from genwerk.core.workspace import Step
from genwerk.data.documents import load_documents
from genwerk.data.page_joining import join_pages
from genwerk.data.page_layout import Line, Piece, page_lines
from genwerk.data.places import place_of, place_of_span, places_field, places_of
from genwerk.data.prepare import PrepareConfig, prepare
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable
from genwerk.data.readers import READERS

LOREM = (
    "The pump moves water from the lower basin to the upper one and stops by itself when the basin is full. "
    "Its filter is cleaned every week with warm water, and it is changed when it shows cracks."
)


def read(path: Path, **options: object) -> RawDocument | Unreadable:
    (found,) = READERS[".pdf"](path, ReadOptions(**options))  # type: ignore[arg-type]
    return found


def text_of(path: Path) -> RawDocument:
    found = read(path)
    assert isinstance(found, RawDocument), found
    return found


def page_of(raw: RawDocument, words: str) -> str:
    document = Document.create("a", raw.text, metadata={"places": places_field(raw.places, len(raw.text))})
    return place_of(document, raw.text.index(words))


def new_pdf(size: float = 11) -> FPDF:
    pdf = FPDF()
    pdf.set_font("helvetica", size=size)
    return pdf


def save(pdf: FPDF, path: Path) -> Path:
    pdf.output(str(path))
    return path


def test_a_page_whose_places_cannot_be_read_is_read_plainly_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(page: object, faces: object) -> list[Piece]:
        raise LookupError("a font without widths")

    pdf = new_pdf()
    pdf.add_page()
    pdf.multi_cell(0, text=LOREM)
    monkeypatch.setattr("genwerk.data.pdf.page_pieces", fail)
    found = text_of(save(pdf, tmp_path / "a.pdf"))
    assert "The pump moves water" in found.text
    assert [(rule, "page 1" in detail) for rule, detail in found.notes] == [("pages without layout", True)]


def test_lines_of_a_paragraph_are_joined_and_paragraphs_are_kept_apart(tmp_path: Path) -> None:
    pdf = new_pdf()
    pdf.add_page()
    pdf.multi_cell(0, text=LOREM)
    pdf.ln(6)
    pdf.multi_cell(0, text="A second paragraph. " + LOREM)
    assert text_of(save(pdf, tmp_path / "a.pdf")).text == f"{LOREM}\n\nA second paragraph. {LOREM}"


def test_headers_footers_and_numbers_go_and_a_paragraph_goes_on_over_the_page(tmp_path: Path) -> None:
    class Report(FPDF):
        def header(self) -> None:
            self.set_font("helvetica", size=9)
            self.cell(0, 8, "Pump report 2024", new_x="LMARGIN", new_y="NEXT")

        def footer(self) -> None:
            self.set_y(-15)
            self.cell(0, 8, f"Page {self.page_no()} of 4", align="C")

    pdf = Report()
    for number in range(1, 5):
        pdf.add_page()
        pdf.set_font("helvetica", size=11)
        pdf.multi_cell(0, text=f"Number {number} begins. {LOREM} It goes", new_x="LMARGIN", new_y="NEXT")
        word = ("one", "two", "three", "four")[number - 1]
        long = (
            f"at last this sentence of page {number} is a long one that reaches the right edge of its page {word} then"
        )
        pdf.multi_cell(0, text=f"{LOREM} {LOREM} {long}")
    raw = text_of(save(pdf, tmp_path / "a.pdf"))
    assert "Pump report" not in raw.text and " of 4" not in raw.text
    assert raw.notes == (("running lines", "8 headers, footers and page numbers left out"),)
    assert [page_of(raw, f"Number {number} begins") for number in range(1, 5)] == [f"page {n}" for n in range(1, 5)]
    assert page_of(raw, "sentence of page 2") == "page 2"


def test_two_columns_are_read_one_after_the_other_below_their_title(tmp_path: Path) -> None:
    pdf = new_pdf()
    pdf.add_page()
    pdf.set_font("helvetica", size=18)
    pdf.cell(0, 10, "A title that goes over both of the columns", new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("helvetica", size=10)
    for left, word in ((10.0, "Left"), (110.0, "Right")):
        pdf.set_xy(left, 30)
        pdf.multi_cell(88, text=f"{word} column. {LOREM} {LOREM}", align="L")
    raw = text_of(save(pdf, tmp_path / "a.pdf"))
    assert raw.text.startswith("# A title that goes over both of the columns\n\nLeft column. The pump")
    assert raw.text.count(LOREM) == 4
    assert raw.text.index("Left column") < raw.text.index("cracks.") < raw.text.index("Right column")


def test_tables_are_rows_and_cells_that_go_on_are_joined(tmp_path: Path) -> None:
    pdf = new_pdf()
    pdf.add_page()
    pdf.multi_cell(0, text=LOREM, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(8)
    with pdf.table(col_widths=(30, 70, 30)) as table:
        for row in (("Part", "Use", "Price"), ("Filter", "keeps sand out of the pump", "12"), ("Seal", "", "3")):
            table.row(row)
    raw = text_of(save(pdf, tmp_path / "a.pdf"))
    rows = [line for line in raw.text.split("\n") if line.startswith("|")]
    assert rows == ["| Part | Use | Price |", "| Filter | keeps sand out of the pump | 12 |", "| Seal |  | 3 |"]
    assert LOREM in raw.text


def test_headings_are_a_tree_by_size_and_by_outline(tmp_path: Path) -> None:
    pdf = new_pdf()
    pdf.add_page()
    for size, title in ((22, "Manual"), (16, "Cleaning"), (13, "By hand")):
        pdf.set_font("helvetica", size=size)
        pdf.cell(0, 12, title, new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("helvetica", size=11)
        pdf.multi_cell(0, text=LOREM, new_x="LMARGIN", new_y="NEXT")
    raw = text_of(save(pdf, tmp_path / "a.pdf"))
    assert [line for line in raw.text.split("\n") if line.startswith("#")] == ["# Manual", "## Cleaning", "### By hand"]
    pdf = new_pdf()
    pdf.add_page()
    pdf.start_section("Safety rules")
    pdf.cell(0, 12, "Safety rules", new_x="LMARGIN", new_y="NEXT")
    pdf.multi_cell(0, text=LOREM)
    assert text_of(save(pdf, tmp_path / "b.pdf")).text == f"# Safety rules\n\n{LOREM}"


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (("an exam-", "ple of it"), "an example of it"),
        (("a well-", "known and well-known rule"), "a well-known and well-known rule"),
        (("die Ein-", "und Ausgabe"), "die Ein- und Ausgabe"),
        (("in Baden-", "Baden gebaut"), "in Baden-Baden gebaut"),
        (("pages 10-", "20 of it"), "pages 10-20 of it"),
        (("the end -", "or not"), "the end - or not"),
    ],
)
def test_hyphens_at_line_ends_are_mended_and_real_ones_kept(lines: tuple[str, str], wanted: str) -> None:
    rows = [Line(0, 100, 100 - 12 * index, 10, text, right=100) for index, text in enumerate(lines)]
    assert join_pages({1: rows}).text == wanted
    over = join_pages({1: rows[:1], 2: rows[1:]})
    assert over.text == wanted
    assert wanted[over.places[1].start :] == lines[1]


def test_items_begin_lines_of_their_own_and_dashes_within_a_sentence_do_not() -> None:
    texts = (
        "Bring these:",
        "• a cloth that is as long as the line",
        "– and a dash goes on with it here ok",
        "2. is next,",
    )
    rows = [Line(0, 98, 100 - 12 * index, 10, text, right=100) for index, text in enumerate(texts)]
    assert join_pages({1: rows}).text == (
        "Bring these:\n\n- a cloth that is as long as the line – and a dash goes on with it here ok 2. is next,"
    )


def test_places_of_pages_survive_preparing_with_redaction(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    pdf = new_pdf()
    for number in range(1, 4):
        pdf.add_page()
        pdf.multi_cell(0, text=f"Ask eva{number}@example.org or +49 30 1234567{number} first. Page {number} ends here.")
    save(pdf, docs / "a.pdf")
    config = PrepareConfig.parse({"sources": (str(docs),), "redact": ("email", "phone")})
    prepare(config, Step("x", tmp_path, tmp_path, EventLog(tmp_path)))
    (document,) = load_documents(tmp_path)
    assert document.text.count("[phone]") == 3
    starts = [document.text.index(f"Page {number} ends") for number in range(1, 4)]
    assert [place_of_span(document, start, start + 5) for start in starts] == ["page 1", "page 2", "page 3"]
    assert [document.text[place.start :][:11] for place in places_of(document)] == ["Ask [email]"] * 3


def test_nothing_of_a_page_is_lost_whatever_stands_where() -> None:
    words = [f"w{number}" for number in range(60)]
    pieces = [
        Piece(10.0 + number * 37 % 500, 40.0 + number * 37 % 500, 700.0 - number * 53 % 600, 10.0, word)
        for number, word in enumerate(words)
    ]
    found = " ".join(line.text for line in page_lines(pieces))
    assert sorted(found.replace("|", " ").split()) == sorted(words)


def test_numbers_that_do_not_count_pages_stay() -> None:
    pages = {
        page: [Line(0, 50, 800, 10, str(value), right=100), Line(0, 90, 700, 10, f"Text {page} here.", right=100)]
        for page, value in ((1, 17), (2, 3), (3, 99), (4, 5))
    }
    assert "99" in join_pages(pages).text


def test_numbers_that_count_pages_go_wherever_they_stand_and_so_do_short_lines_with_them() -> None:
    edges = {
        1: (800, "7"),
        2: (60, "8"),
        3: (800, "Chapter 2: Care 9"),
        4: (800, "10 Manual"),
        5: (800, "Chapter 2: Care 11"),
    }
    pages = {
        page: [Line(0, 50, y, 10, text, right=100), Line(0, 90, 700, 10, f"Text {'abcde'[page - 1]} here.", right=100)]
        for page, (y, text) in edges.items()
    }
    found = join_pages(pages)
    assert (found.text, found.running) == (
        "Text a here.\n\nText b here.\n\nText c here.\n\nText d here.\n\nText e here.", 5,
    )  # fmt: skip


def test_contents_are_lines_of_their_own() -> None:
    texts = ("Care . . . . . . . . . . 1", "Use. . . . . . . . . . . 2")
    rows = [Line(0, 100, 100 - 12 * index, 10, text, right=100) for index, text in enumerate(texts)]
    assert join_pages({1: rows}).text == "\n\n".join(texts)


def test_an_empty_page_among_others_is_counted_and_numbers_stay_right(tmp_path: Path) -> None:
    pdf = new_pdf()
    for text in ("First page here.", "", "Third page here."):
        pdf.add_page()
        pdf.multi_cell(0, text=text) if text else None
    raw = text_of(save(pdf, tmp_path / "a.pdf"))
    assert (page_of(raw, "First"), page_of(raw, "Third")) == ("page 1", "page 3")
    assert raw.notes == (("pages without text", "1 of 3: 2"),)


def test_text_inside_of_form_objects_is_read(tmp_path: Path) -> None:
    source = pypdf.PdfReader(save(_one_page(LOREM), tmp_path / "x.pdf"))
    writer = pypdf.PdfWriter()
    page = writer.add_blank_page(600, 800)
    form = pypdf.generic.StreamObject()
    form.set_data(source.pages[0].get_contents().get_data())  # type: ignore[union-attr]
    name = pypdf.generic.NameObject
    form.update({name("/Type"): name("/XObject"), name("/Subtype"): name("/Form")})
    form[name("/Resources")] = source.pages[0]["/Resources"].clone(writer)  # type: ignore[union-attr]
    form[name("/BBox")] = pypdf.generic.ArrayObject(map(pypdf.generic.FloatObject, (0, 0, 600, 800)))
    objects = pypdf.generic.DictionaryObject({name("/F"): writer._add_object(form)})
    page[name("/Resources")] = pypdf.generic.DictionaryObject({name("/XObject"): objects})
    content = pypdf.generic.StreamObject()
    content.set_data(b"/F Do")
    page[name("/Contents")] = writer._add_object(content)
    writer.write(tmp_path / "a.pdf")
    assert " ".join(text_of(tmp_path / "a.pdf").text.split()) == LOREM


def test_a_page_that_is_turned_upside_down_and_back_as_browsers_print_it_is_read_from_its_top(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=save(_one_page(LOREM), tmp_path / "x.pdf"))
    lines = (
        "First the basin is filled with water.",
        "Then the pump is started, and",
        "last of all the valve is opened.",
    )
    shown = (f"BT /F1 40 Tf 1 0 0 -1 300 {400 + 60 * row} Tm ({line}) Tj ET" for row, line in enumerate(lines))
    content = pypdf.generic.StreamObject()
    content.set_data("\n".join([".24 0 0 -.24 0 792 cm", *shown]).encode())
    writer.pages[0][pypdf.generic.NameObject("/Contents")] = writer._add_object(content)
    writer.write(tmp_path / "a.pdf")
    assert text_of(tmp_path / "a.pdf").text == " ".join(lines)


def _one_page(text: str) -> FPDF:
    pdf = new_pdf()
    pdf.add_page()
    pdf.multi_cell(0, text=text)
    return pdf
