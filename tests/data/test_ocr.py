"""Pictures of text: refused with the remedy unless asked for; then read, with how sure the program is."""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib
import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

from genwerk.core.errors import DataError
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable
from genwerk.data.readers import READERS

FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")


def draw(path: Path, *pages: str) -> Path:
    images = []
    for text in pages:
        image = Image.new("RGB", (1000, 160), "white")
        ImageDraw.Draw(image).text((20, 40), text, "black", ImageFont.truetype(str(FONT), 36))
        images.append(image)
    images[0].save(path, save_all=True, append_images=images[1:]) if len(images) > 1 else images[0].save(path)
    return path


def read(path: Path, **options: object) -> RawDocument | Unreadable:
    (found,) = READERS[path.suffix](path, ReadOptions(**options))  # type: ignore[arg-type]
    return found


def test_pictures_are_refused_with_the_remedy_unless_asked_for(tmp_path: Path) -> None:
    found = read(draw(tmp_path / "a.png", "Clean the filter"))
    assert isinstance(found, Unreadable)
    assert (found.rule, "data.ocr" in found.detail) == ("needs text recognition", True)


def test_without_tesseract_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="apt-get install tesseract-ocr"):
        read(draw(tmp_path / "a.png", "Clean the filter"), ocr=True)


@needs_tesseract
def test_a_picture_is_read_with_its_confidence(tmp_path: Path) -> None:
    found = read(draw(tmp_path / "a.png", "Clean the filter every week"), ocr=True, languages=("en",))
    assert isinstance(found, RawDocument)
    assert found.text == "Clean the filter every week"
    ((rule, detail),) = found.notes
    assert rule == "text recognition" and detail.startswith("confidence 9")
    pages = read(draw(tmp_path / "b.tif", "The first page", "The second page"), ocr=True)
    assert isinstance(pages, RawDocument)
    assert [(place.label, pages.text[place.start :][:8]) for place in pages.places] == [
        ("page 1", "The firs"), ("page 2", "The seco"),
    ]  # fmt: skip


@needs_tesseract
def test_scanned_pages_of_a_pdf_are_read_between_the_others(tmp_path: Path) -> None:
    pdf = FPDF()
    pdf.set_font("helvetica", size=12)
    pdf.add_page()
    pdf.multi_cell(0, text="A page of text.")
    pdf.add_page()
    pdf.image(str(draw(tmp_path / "x.png", "A scanned page")), w=180)
    pdf.output(str(tmp_path / "a.pdf"))
    found = read(tmp_path / "a.pdf", ocr=True)
    assert isinstance(found, RawDocument)
    assert found.text == "A page of text.\n\nA scanned page"
    assert [place.label for place in found.places] == ["page 1", "page 2"]
    assert found.notes[0][0] == "text recognition"


@needs_tesseract
def test_an_unknown_language_and_a_damaged_picture_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="tesseract-ocr-tha"):
        read(draw(tmp_path / "a.png", "x"), ocr=True, languages=("th",))
    path = draw(tmp_path / "b.png", "x")
    path.write_bytes(path.read_bytes()[:200])
    found = read(path, ocr=True)
    assert isinstance(found, Unreadable) and found.rule == "damaged picture"
