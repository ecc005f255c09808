"""Real PDFs kern, space letters, centre cells and set code: words, headings, tables and code come back all the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pypdf
import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st

from genwerk.data.page_joining import join_pages
from genwerk.data.page_layout import Line, Piece, page_lines
from genwerk.data.pdf import read_pdf
from genwerk.data.raw import RawDocument, ReadOptions

PROSE = "The pump moves water from the lower basin to the upper one and stops by itself when it is full."


def read(path: Path) -> RawDocument:
    (found,) = read_pdf(path, ReadOptions())
    assert isinstance(found, RawDocument), found
    return found


def written(tmp_path: Path, content: str, *, turned: int = 0) -> str:
    """What is read of a page with this content stream; F1 is Helvetica."""
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=10)
    pdf.cell(text="x")
    pdf.output(str(tmp_path / "x.pdf"))
    writer = pypdf.PdfWriter(clone_from=tmp_path / "x.pdf")
    stream = pypdf.generic.StreamObject()
    stream.set_data(content.encode("latin-1"))
    writer.pages[0][pypdf.generic.NameObject("/Contents")] = writer._add_object(stream)
    writer.pages[0].rotate(turned)
    writer.write(tmp_path / "a.pdf")
    return read(tmp_path / "a.pdf").text


def lines(
    *texts: str, size: float = 10, bold: bool = False, pitch: float = 0, y: float = 700, x: float = 0
) -> list[Line]:
    """Lines of a column from 0 to 400, twelve points apart, the first at `y`."""
    return [
        Line(x, x + 5 * len(text), y - 12 * row, size, text, bold, 0, 400, pitch=pitch)
        for row, text in enumerate(texts)
    ]


def headings(found: Sequence[Line]) -> list[str]:
    return [line for line in join_pages({1: found}).text.split("\n") if line.startswith("#")]


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        ("(list of ) Tj (fi) Tj 1 0 0 1 81.1 700 Tm (les) Tj", "list of files"),
        ("(dir) Tj (ector) Tj [(ies)] TJ ( are) Tj", "directories are"),
        ("[(e)-20(v)15(en)] TJ [(ts)-250(and)-333(more)] TJ", "events and more"),
        ("(belo) Tj 5 Tc (wu) Tj 0 Tc [500(nder)] TJ", "below under"),
        ("3 Tw (two blanks) Tj 0 Tw (here) Tj", "two blankshere"),
        ("50 Tz (nar) Tj (row) Tj", "narrow"),
        ("14 TL (one) Tj (two) ' T* (three) Tj", "one two three"),
        ("2 Tr 2 Ts (up) Tj 0 Ts (right) Tj", "upright"),
    ],
)
def test_a_string_begins_where_the_one_before_ended(tmp_path: Path, shown: str, wanted: str) -> None:
    assert written(tmp_path, f"BT /F1 10 Tf 50 700 Td {shown} ET") == wanted


def test_a_form_that_holds_itself_is_read_once_and_stands_where_it_is_put(tmp_path: Path) -> None:
    name, number = pypdf.generic.NameObject, pypdf.generic.FloatObject
    assert written(tmp_path, "BT /F1 10 Tf 50 700 Td (first) Tj ET") == "first"
    writer = pypdf.PdfWriter(clone_from=tmp_path / "a.pdf")
    page, form = writer.pages[0], pypdf.generic.StreamObject()
    form.set_data(b"BT /F1 10 Tf 0 0 Td (then) Tj ET " + b"/Own Do " * 9)
    form[name("/Subtype")] = name("/Form")
    form[name("/Matrix")] = pypdf.generic.ArrayObject(map(number, (1, 0, 0, 1, 75, 0)))
    resources = page["/Resources"].get_object()
    resources[name("/XObject")] = pypdf.generic.DictionaryObject({name("/Own"): writer._add_object(form)})
    stream = pypdf.generic.StreamObject()
    stream.set_data(b"BT /F1 10 Tf 50 700 Td (first) Tj ET q 1 0 0 1 0 700 cm /Own Do Q BT 102 700 Td (last) Tj ET")
    page[name("/Contents")] = writer._add_object(stream)
    writer.write(tmp_path / "b.pdf")
    assert read(tmp_path / "b.pdf").text == "first then last"


def test_a_page_that_is_shown_turned_is_read_as_it_is_shown(tmp_path: Path) -> None:
    shown = "BT /F1 10 Tf 0 1 -1 0 100 50 Tm (First a line, and) Tj 0 -12 Td (then another.) Tj ET"
    assert written(tmp_path, shown, turned=90) == "First a line, and then another."


@given(st.lists(st.text("abcdefg", min_size=4, max_size=9), min_size=1, max_size=8), st.floats(0.18, 0.6), st.data())
def test_kerning_is_no_blank_and_a_blank_is_one(words: list[str], blank: float, data: st.DataObject) -> None:
    pieces, x = [], 50.0
    for word in words:
        at = data.draw(st.sampled_from((0, 2)))
        for part in filter(None, (word[:at], word[at:])):
            pieces.append(Piece(x, x + 5 * len(part), 700, 10, part))
            x += 5 * len(part) + 10 * data.draw(st.floats(-0.09, 0.07))
        x = pieces[-1].x1 + 10 * blank
    (line,) = page_lines(pieces)
    assert line.text == " ".join(words)


def test_letters_spaced_out_are_a_word() -> None:
    places = [50 + 9 * at + 6 * (at >= 5) for at in range(9)]
    pieces = [Piece(x, x + 5, 700, 10, letter) for x, letter in zip(places, "HOUSERULE", strict=True)]
    assert [line.text for line in page_lines(pieces)] == ["HOUSE RULE"]


def test_code_keeps_its_lines_its_blanks_and_its_indents_and_is_no_heading(tmp_path: Path) -> None:
    code = (
        "import json",
        "def read(path):",
        "    # title",
        "    data = path.read()    # all of it",
        "    return data      # at once",
    )
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=11)
    pdf.multi_cell(0, text=PROSE, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(3)
    for text in code:
        pdf.set_font("courier", size=10, style="B" if text.startswith("import") else "")
        pdf.cell(0, 5, text, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(3)
    pdf.set_font("helvetica", size=11)
    pdf.multi_cell(0, text=PROSE * 4)
    pdf.output(str(tmp_path / "a.pdf"))
    assert "\n\n```\n" + "\n".join(code) + "\n```\n\n" in read(tmp_path / "a.pdf").text


def test_code_over_a_page_is_one_block_and_its_page_begins_within() -> None:
    prose = lines(PROSE, PROSE, PROSE)
    pages = {1: [*prose, *lines("if x:", pitch=6, y=600)], 2: lines("    y()", "", "z()", pitch=6)[::2]}
    pages[1] += lines("    w()", pitch=6, y=588)
    found = join_pages(pages)
    assert found.text.endswith("\n\n```\nif x:\n    w()\n    y()\n\nz()\n```")
    assert found.text[found.places[1].start :].startswith("    y()")


def test_a_name_in_typewriter_within_a_paragraph_does_not_cut_it_and_a_document_in_typewriter_is_no_code() -> None:
    prose = "This one goes on for so long that it is as wide as its column, that is to say up to"
    found = lines(prose, prose) + lines("os.path.join", pitch=6, y=676) + lines("which is where it ends.", y=664)
    assert "```" not in join_pages({1: found}).text
    assert "```" not in join_pages({1: lines(PROSE, PROSE, PROSE, pitch=5)}).text


def test_bold_lines_are_headings_only_where_they_stand_alone() -> None:
    body = lines(PROSE, PROSE, PROSE, PROSE, PROSE)
    below = {"y": 610}
    assert headings([*body, *lines("Cleaning the filter", bold=True, **below)]) == ["# Cleaning the filter"]
    assert not headings([*body, *lines("Cleaning the filter.", bold=True, **below)])
    assert not headings([*body, *lines("read_filter", bold=True, pitch=6, **below)])
    assert not headings([*body, *lines("Never open", "the filter while", "the pump runs", bold=True, **below)])
    assert not headings([*body, *lines("runs on into it", bold=True, y=640)])
    term = lines("--verbose", bold=True, x=40, **below) + lines("says more of what it does", x=70, y=598)
    assert not headings([*body, *term])


def test_titles_a_little_larger_than_the_text_are_headings_above_bold_ones() -> None:
    body = lines(PROSE, PROSE, PROSE, PROSE, PROSE)
    found = body + lines("Filters", size=11, y=610) + lines(PROSE, y=580) + lines("By hand", bold=True, y=540)
    assert headings(found) == ["# Filters", "## By hand"]
    assert not headings(body + lines("a note in larger letters that ends.", size=11, y=610))


def test_wide_gaps_in_lines_that_do_not_align_are_no_table() -> None:
    rows = ((0, 40, 90, 160), (0, 60, 110, 140), (0, 50, 100, 190), (0, 66, 96, 130))
    pieces = [
        Piece(x0, x1, 700 - 30 * row, 10, f"w{row}")
        for row, places in enumerate(rows)
        for x0, x1 in (places[:2], (places[2] + 20 * row**2, places[3] + 31 * row**2))
    ]
    assert not any(line.row for line in page_lines(pieces))


def test_cells_that_centre_in_their_row_are_one_row() -> None:
    pieces = [Piece(0, 30, 700, 10, "Name"), Piece(80, 130, 700, 10, "Use"), Piece(250, 300, 700, 10, "Value")]
    for top, name in ((670, "dest"), (640, "nargs")):
        pieces += [Piece(80, 200, top + 7, 10, f"what {name} will be un-"), Piece(80, 190, top - 7, 10, "derstood as")]
        pieces += [Piece(0, 30, top, 10, name), Piece(250, 290, top, 10, "None")]
    assert join_pages({1: page_lines(pieces)}).text.split("\n") == [
        "| Name | Use | Value |",
        "| dest | what dest will be understood as | None |",
        "| nargs | what nargs will be understood as | None |",
    ]


def test_columns_ten_points_apart_are_read_one_after_the_other() -> None:
    pieces = [
        Piece(x, x + 190, 700 - 12 * row, 10, f"{side} line {row} as wide as its column is")
        for row in range(8)
        for x, side in ((0, "left"), (200, "right"))
    ]
    found = [line.text.split()[0] for line in page_lines(pieces)]
    assert found == ["left"] * 8 + ["right"] * 8


def test_headers_that_count_go_even_where_each_comes_once_and_so_do_roman_numbers() -> None:
    edges = (
        "ii",
        "iii",
        "iv",
        "v",
        "2 Contents",
        "3. Care 3",
        "4 Chapter 3. Care",
        "4. Repair 5",
        "6 Chapter 4. Repair",
    )
    pages = {
        page: [*lines(text, y=800 if page > 4 else 30), *lines(f"Text {'abcdefghi'[page - 1]}.")]
        for page, text in enumerate(edges, 1)
    }
    found = join_pages(pages)
    assert (found.text, found.running) == ("\n\n".join(f"Text {letter}." for letter in "abcdefghi"), 9)


def test_fonts_are_read_once_for_all_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pypdf.generic._font import Font

    pdf = FPDF()
    pdf.set_font("helvetica", size=11)
    for _ in range(3):
        pdf.add_page()
        pdf.cell(text=PROSE)
    pdf.output(str(tmp_path / "a.pdf"))
    read_font, fonts = Font.from_font_resource, []
    monkeypatch.setattr(Font, "from_font_resource", lambda font: fonts.append(font) or read_font(font))
    assert read(tmp_path / "a.pdf").text.count("basin") == 3
    assert len(fonts) == 1
