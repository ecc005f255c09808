"""The extra `documents`: DOCX (python-docx), PPTX (python-pptx), and EPUB (its HTML pages, in reading order).

Headings become Markdown headings, tables rows. Slides and chapters are places; a DOCX knows no pages before it is set.
What is hostile or locked is refused beforehand (`archives`); no parser expands entities or opens a second file.

Left out: headers, footers, footnotes, comments and text in drawings of DOCX; charts and pictures.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lxml import etree

from genwerk.data.archives import read_archive
from genwerk.data.decoding import decode
from genwerk.data.html import html_to_markdown
from genwerk.data.places import Place
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable, missing_package

_DEEPEST_GROUP = 20


def read_docx(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """Paragraphs and tables of a Word document. Raises DataError where python-docx is not installed."""
    try:
        import docx
    except ImportError as error:
        raise missing_package("DOCX", "python-docx", path) from error

    def parse(file: io.BytesIO) -> Iterator[RawDocument | Unreadable]:
        document = docx.Document(file)
        style_of = _docx_styles(document)
        text = "\n\n".join(filter(None, (_docx_block(block, style_of) for block in document.iter_inner_content())))
        title = document.core_properties.title or ""
        yield RawDocument(text, "", title, "markdown") if text else Unreadable("no text", "no paragraph has text")

    yield from read_archive("DOCX", path, options, parse)


def read_pptx(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """Slides with their titles as headings, tables and notes. Raises DataError where python-pptx is not installed."""
    try:
        import pptx
    except ImportError as error:
        raise missing_package("PPTX", "python-pptx", path) from error

    def parse(file: io.BytesIO) -> Iterator[RawDocument | Unreadable]:
        deck = pptx.Presentation(file)
        slides = [(f"slide {number}", _slide(slide)) for number, slide in enumerate(deck.slides, start=1)]
        yield joined_parts(slides, deck.core_properties.title or "", f"{len(slides)} slides, none with text")

    yield from read_archive("PPTX", path, options, parse)


def read_epub(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """The pages of a book in reading order, as one document; its places are chapters."""
    yield from read_archive("EPUB", path, options, _epub)


def _epub(file: io.BytesIO) -> Iterator[RawDocument | Unreadable]:
    with zipfile.ZipFile(file) as archive:
        title, names = _epub_pages(archive)
        if _is_locked(archive, names):
            yield Unreadable("encrypted EPUB", "its pages are locked by copy protection")
            return
        pages = [html_to_markdown(decode(archive.read(name)).text).text for name in names]
    chapters = [(_chapter(page, number), page) for number, page in enumerate(pages, start=1)]
    yield joined_parts(chapters, title, f"{len(names)} pages, all empty")


def joined_parts(parts: Iterable[tuple[str, str]], title: str, nothing: str) -> RawDocument | Unreadable:
    """One document of labelled parts, each a place; Unreadable with `nothing` where no part has text."""
    places, texts, length = [], [], 0
    for label, text in parts:
        if text.strip():
            places.append(Place(length, label))
            texts.append(text)
            length += len(text) + 2
    if not texts:
        return Unreadable("no text", nothing)
    return RawDocument("\n\n".join(texts), "", title, "markdown", places=tuple(places))


def _docx_styles(document: Any) -> Callable[[str | None], str]:
    """Name of a paragraph style by its id, looked up once: python-docx goes through all of them each time."""
    from docx.enum.style import WD_STYLE_TYPE

    @cache
    def name(identity: str | None) -> str:
        style = document.part.get_style(identity, WD_STYLE_TYPE.PARAGRAPH)
        return (style.name if style is not None else "") or ""

    return name


def _docx_block(block: Any, style_of: Callable[[str | None], str]) -> str:
    if hasattr(block, "rows"):
        return "\n".join(_table_row(row.cells) for row in block.rows)
    text = block.text.strip()
    if not text:
        return ""
    style = style_of(block._p.style)
    if style == "Title":
        return f"# {' '.join(text.split())}"
    if style.startswith("Heading ") and style[8:].isdigit():
        return f"{'#' * min(int(style[8:]) + 1, 6)} {' '.join(text.split())}"
    return f"- {text}" if style.startswith("List") else text


def _table_row(cells: Iterable[Any]) -> str:
    texts: list[str] = []
    before = None
    for cell in cells:
        if cell._tc is not before:  # a merged cell is given once for each column it covers
            texts.append(" ".join(cell.text.split()).replace("|", "/"))
        before = cell._tc
    return "| " + " | ".join(texts) + " |"


def _slide(slide: Any) -> str:
    title = slide.shapes.title
    blocks = []
    if title is not None and title.text_frame.text.strip():
        blocks.append(f"# {' '.join(title.text_frame.text.split())}")
    others = [shape for shape in slide.shapes if title is None or shape.shape_id != title.shape_id]
    for shape in sorted(others, key=lambda shape: (shape.top or 0, shape.left or 0)):
        blocks += _shape(shape, 0)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        blocks += [f"Notes: {notes}"] if notes else []
    return "\n\n".join(block for block in blocks if block)


def _shape(shape: Any, depth: int) -> list[str]:
    if hasattr(shape, "shapes") and depth < _DEEPEST_GROUP:
        return [block for inner in shape.shapes for block in _shape(inner, depth + 1)]
    if getattr(shape, "has_table", False):
        return ["\n".join(_table_row(row.cells) for row in shape.table.rows)]
    if not getattr(shape, "has_text_frame", False):
        return []
    texts = [" ".join(paragraph.text.split()) for paragraph in shape.text_frame.paragraphs]
    texts = [text for text in texts if text]
    return ["\n".join(f"- {text}" for text in texts)] if len(texts) > 1 else texts


def _chapter(page: str, number: int) -> str:
    heading = next((line.lstrip("# ") for line in page.split("\n") if line.startswith("#")), "")
    return f"chapter {heading[:80] or number}"


def _is_locked(archive: zipfile.ZipFile, names: list[str]) -> bool:
    """Whether the book's own list of encrypted parts (fonts may be) names one of its pages."""
    if "META-INF/encryption.xml" not in archive.namelist():
        return False
    tree = etree.fromstring(archive.read("META-INF/encryption.xml"), _parser())
    locked = {unquote(item.get("URI", "")) for item in _named(tree, "CipherReference")}
    return any(name in locked for name in names)


def _epub_pages(archive: zipfile.ZipFile) -> tuple[str, list[str]]:
    """The book's title and its pages' names inside the archive, in reading order."""
    container = etree.fromstring(archive.read("META-INF/container.xml"), _parser())
    roots = container.xpath("//*[local-name()='rootfile']/@full-path")
    if not isinstance(roots, list) or not roots:
        raise ValueError("no package file named in META-INF/container.xml")
    package = str(roots[0])
    tree = etree.fromstring(archive.read(package), _parser())
    items = {item.get("id"): item.get("href", "") for item in _named(tree, "item")}
    title = next((str(found.text or "") for found in _named(tree, "title")), "")
    hrefs = [items.get(found.get("idref"), "") for found in _named(tree, "itemref")]
    folder = posixpath.dirname(package)
    names = [posixpath.normpath(posixpath.join(folder, unquote(href))) for href in hrefs if href]
    return title, list(dict.fromkeys(name for name in names if name.lower().endswith(("html", "htm"))))


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True)


def _named(tree: Any, name: str) -> list[Any]:
    return list(tree.xpath(f"//*[local-name()='{name}']"))
