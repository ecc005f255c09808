"""Readers of the extra `documents`: PDF (pypdf), DOCX (python-docx), EPUB (its HTML pages, in reading order).

PDF pages follow each other with a blank line; scans without a text layer are left out and say so. DOCX and EPUB keep
headings as Markdown headings and tables as rows. Archives that unpack to more than ten times the limit are refused.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lxml import etree

from genwerk.core.errors import DataError
from genwerk.data.decoding import decode
from genwerk.data.html import html_to_markdown
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable

_UNPACKED = 10


def read_pdf(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """The text layer of a PDF. Raises DataError where pypdf is not installed."""
    try:
        import pypdf
    except ImportError as error:
        raise _missing("PDF", "pypdf", path) from error
    try:
        reader = pypdf.PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            yield Unreadable("encrypted PDF", "it needs a password; save it without one")
            return
        pages = [page.extract_text() for page in reader.pages]
        title = str((reader.metadata.title if reader.metadata else None) or "")
    except OSError:
        raise
    except Exception as error:  # a damaged PDF makes pypdf raise almost anything
        yield Unreadable("damaged PDF", f"{type(error).__name__}: {error}")
        return
    text = "\n\n".join(page.strip() for page in pages if page.strip())
    if text:
        yield RawDocument(text, title=title)
    else:
        yield Unreadable("no text", f"{len(pages)} pages without a text layer; run a text recognition over it first")


def read_docx(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """Paragraphs and tables of a Word document. Raises DataError where python-docx is not installed."""
    try:
        import docx
    except ImportError as error:
        raise _missing("DOCX", "python-docx", path) from error
    try:
        if problem := _bomb(path, options):
            yield problem
            return
        document = docx.Document(str(path))
        blocks = [_docx_block(block) for block in document.iter_inner_content()]
        title = document.core_properties.title or ""
    except (zipfile.BadZipFile, KeyError, ValueError, etree.LxmlError) as error:
        yield Unreadable("damaged DOCX", f"{type(error).__name__}: {error}")
        return
    text = "\n\n".join(block for block in blocks if block)
    yield RawDocument(text, "", title, "markdown") if text else Unreadable("no text", "no paragraph has text")


def read_epub(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """The pages of a book in reading order, as one document."""
    try:
        if problem := _bomb(path, options):
            yield problem
            return
        with zipfile.ZipFile(path) as archive:
            title, names = _epub_pages(archive)
            pages = [html_to_markdown(decode(archive.read(name)).text).text for name in names]
    except (zipfile.BadZipFile, KeyError, ValueError, RuntimeError, etree.LxmlError) as error:
        yield Unreadable("damaged EPUB", f"{type(error).__name__}: {error}")
        return
    text = "\n\n".join(page for page in pages if page)
    yield RawDocument(text, "", title, "markdown") if text else Unreadable("no text", f"{len(names)} pages, all empty")


def _missing(kind: str, package: str, path: Path) -> DataError:
    return DataError(
        f"reading {kind} files needs {package}, which is not installed",
        where=path.name,
        remedy="Run `pip install genwerk[documents]`.",
    )


def _bomb(path: Path, options: ReadOptions) -> Unreadable | None:
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size <= _UNPACKED * options.max_bytes:
        return None
    return Unreadable("too large", f"it unpacks to {size / 1e6:,.0f} MB, over {_UNPACKED} times data.max_file_bytes")


def _docx_block(block: Any) -> str:
    if hasattr(block, "rows"):
        rows = ([" ".join(cell.text.split()).replace("|", "/") for cell in row.cells] for row in block.rows)
        return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    text = block.text.strip()
    style = (block.style.name if block.style is not None else "") or ""
    if not text:
        return ""
    if style == "Title":
        return f"# {' '.join(text.split())}"
    if style.startswith("Heading ") and style[8:].isdigit():
        return f"{'#' * min(int(style[8:]) + 1, 6)} {' '.join(text.split())}"
    return f"- {text}" if style.startswith("List") else text


def _epub_pages(archive: zipfile.ZipFile) -> tuple[str, list[str]]:
    """The book's title and its pages' names inside the archive, in reading order."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    container = etree.fromstring(archive.read("META-INF/container.xml"), parser)
    roots = container.xpath("//*[local-name()='rootfile']/@full-path")
    if not isinstance(roots, list) or not roots:
        raise ValueError("no package file named in META-INF/container.xml")
    package = str(roots[0])
    tree = etree.fromstring(archive.read(package), parser)
    items = {item.get("id"): item.get("href", "") for item in _named(tree, "item")}
    title = next((str(found.text or "") for found in _named(tree, "title")), "")
    hrefs = [items.get(found.get("idref"), "") for found in _named(tree, "itemref")]
    folder = posixpath.dirname(package)
    names = [posixpath.normpath(posixpath.join(folder, unquote(href))) for href in hrefs if href]
    return title, [name for name in names if name.lower().endswith(("html", "htm"))]


def _named(tree: Any, name: str) -> list[Any]:
    return list(tree.xpath(f"//*[local-name()='{name}']"))
