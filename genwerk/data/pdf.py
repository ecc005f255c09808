"""PDF by pypdf: paragraphs, headings, columns and tables from where text stands on the page; every page number kept.

Pages without a text layer (scans) are counted in a note, or recognised where `ocr` is on. A damaged page costs itself.
Every page is read, however many there are; the time a file may take is limited by who calls (`guarded`).

Chosen:   pieces of text with their ends and fonts (`page_text`); where there are none, as all text is turned, or where
          that fails, the page is read by pypdf's plain mode.
Left out: text turned by 90 degrees (marks in margins), unless the page has nothing else.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genwerk.core.errors import DataError
from genwerk.data.page_joining import join_pages
from genwerk.data.page_layout import Line, page_lines
from genwerk.data.page_text import Faces, page_pieces
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable, damaged, missing_package

_DEEPEST_OUTLINE = 6
_MOST_TITLES = 20_000
_MOST_BROKEN = 1000


def read_pdf(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """The text of a PDF. Raises DataError where pypdf, or tesseract when `ocr` is on, is not installed."""
    try:
        import pypdf
    except ImportError as error:
        raise missing_package("PDF", "pypdf", path) from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # every oddity of a file is said in the ledger or nowhere
    data = path.read_bytes()
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            yield Unreadable("encrypted PDF", "it needs a password; save it without one")
            return
        n_pages = len(reader.pages)
        title = str((reader.metadata.title if reader.metadata else None) or "")
    except Exception as error:  # a damaged PDF makes pypdf raise almost anything
        yield damaged("PDF", error)
        return
    yield _read_pages(reader, n_pages, title, options)


def _read_pages(reader: Any, n_pages: int, title: str, options: ReadOptions) -> RawDocument | Unreadable:
    pages: dict[int, list[Line]] = {}
    faces: Faces = {}
    empty: list[int] = []
    broken: list[str] = []
    unplaced: list[str] = []
    notes: list[tuple[str, str]] = []
    for number in range(1, n_pages + 1):
        if len(broken) >= _MOST_BROKEN:
            notes.append(("damaged pages", f"after {_MOST_BROKEN} of them, the pages from {number} on are left out"))
            break
        options.tick(f"page {number:,} of {n_pages:,}")
        try:
            page = reader.pages[number - 1]
            pages[number], failed = _lines(page, faces)
            unplaced += [f"page {number}: {failed}"] if failed else []
            if not pages[number] and options.ocr:
                pages[number], note = _recognised(page, options)
                notes += [("text recognition", f"page {number}: {note}")] if note else []
        except DataError:
            raise
        except Exception as error:  # as above; the other pages may be whole
            broken.append(f"page {number}: {damaged('PDF', error).detail}")
            continue
        if not pages[number]:
            empty.append(number)
    joined = join_pages(pages, _outline(reader))
    if broken and not joined.text:
        return Unreadable("damaged PDF", broken[0])
    if not joined.text:
        how = "" if options.ocr else "; set data.ocr, or run a text recognition over it first"
        return Unreadable("no text", f"{n_pages} pages without a text layer{how}")
    if joined.running:
        notes.append(("running lines", f"{joined.running} headers, footers and page numbers left out"))
    if empty:
        notes.append(("pages without text", f"{len(empty)} of {n_pages}: {_some(list(map(str, empty)))}"))
    if unplaced:
        notes.append(("pages without layout", f"{len(unplaced)} of {n_pages}, in plain lines: {_some(unplaced)}"))
    if broken:
        notes.append(("damaged pages", f"{len(broken)} of {n_pages}: {_some(broken)}"))
    return RawDocument(joined.text, "", title, "markdown", tuple(notes), joined.places)


def _some(found: list[str]) -> str:
    return ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")


def _lines(page: Any, faces: Faces) -> tuple[list[Line], str]:
    """The lines of a page; and why they are plain ones, where their places could not be read."""
    failed = ""
    try:
        if lines := page_lines(page_pieces(page, faces)):
            return lines, ""
    except (ArithmeticError, AttributeError, ImportError, LookupError, TypeError, ValueError, RecursionError) as error:
        failed = damaged("PDF", error).detail
    texts = [" ".join(line.split()) for line in (page.extract_text() or "").splitlines()]
    widest = max((len(text) for text in texts), default=0)
    lines = [
        Line(0, 5.0 * len(text), -12.0 * index, 10.0, text, right=5.0 * widest)
        for index, text in enumerate(texts)
        if text
    ]
    return lines, failed


def _recognised(page: Any, options: ReadOptions) -> tuple[list[Line], str]:
    """The lines of a scanned page, one paragraph each, by text recognition."""
    from genwerk.data.ocr import recognise

    images = [image.image for image in page.images if image.image is not None]
    if not images:
        return [], ""
    found = recognise(max(images, key=lambda image: image.width * image.height), options.languages)
    paragraphs = [" ".join(paragraph.split()) for paragraph in found.text.split("\n\n")]
    lines = [Line(0, 1, -100.0 * index, 10.0, text, right=1) for index, text in enumerate(paragraphs) if text]
    return lines, f"confidence {found.confidence:.0%}" if lines else ""


def _outline(reader: Any) -> dict[str, int]:
    """Titles of the outline and their depths."""
    found: dict[str, int] = {}

    def walk(items: Any, depth: int) -> None:
        for item in items:
            if len(found) >= _MOST_TITLES:
                return
            if isinstance(item, list):
                walk(item, min(depth + 1, _DEEPEST_OUTLINE))
            elif title := str(getattr(item, "title", "") or "").strip():
                found.setdefault(title, depth)

    try:
        walk(reader.outline, 1)
    except Exception as error:  # as in read_pdf; the text does not need an outline
        logging.getLogger(__name__).debug("the outline cannot be read: %s", error)
    return found
