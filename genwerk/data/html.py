"""The main text of an HTML page as Markdown: headings, paragraphs, list items, code and table rows, nothing else.

Scripts, styles, forms and navigation go. <main> is taken where there is one, else <article> where it holds most of the
text, else the body. Text within inline tags keeps its place; links keep their text only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from itertools import accumulate

from lxml import etree, html

from genwerk.data.places import Place

_SKIP = frozenset(
    (
        "script", "style", "noscript", "template", "nav", "form", "button", "select", "svg", "math", "iframe",
        "object", "aside", "dialog", "head", "footer",
    )
)  # fmt: skip
_BLOCK = frozenset(
    (
        "p", "div", "section", "article", "main", "body", "header", "ul", "ol", "dl", "dt", "dd", "thead",
        "tbody", "tfoot", "blockquote", "figure", "figcaption", "caption", "hr", "address", "details", "summary",
        "li", "pre", "h1", "h2", "h3", "h4", "h5", "h6",
    )
)  # fmt: skip
_PREFIX = {"li": "- "} | {f"h{level}": "#" * level + " " for level in range(1, 7)}
_BREAK = "\N{SYMBOL FOR NEWLINE}"
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


@dataclass(frozen=True, slots=True)
class Page:
    """A page's title, its main text in Markdown, and the line of the source that each block of it begins in."""

    title: str
    text: str
    places: tuple[Place, ...] = ()


def html_to_markdown(source: str) -> Page:
    """The title and main text of a page; both may be empty."""
    source = _DECLARATION.sub(_lines_only, source.replace("\0", "").replace(_BREAK, " "))
    if not source.strip():
        return Page("", "")
    parser = html.HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root = html.document_fromstring(source, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return Page("", "")
    if any("depth" in entry.message.lower() for entry in parser.error_log):
        return Page("", _strip_tags(source))  # nested over 2,048 deep: the parser drops what is below
    title = " ".join((root.findtext(".//title") or "").split())
    writer = _Writer()
    main = _main_element(root)
    walker = etree.iterwalk(main, events=("start", "end"))
    for event, element in walker:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start" and (tag in _SKIP or element.get("hidden") is not None):
            walker.skip_subtree()
        elif event == "start":
            writer.start(tag, element.sourceline or 0)
            writer.text(element.text or "")
        else:
            writer.end(tag)
            writer.text((element.tail or "") if element is not main else "")
    writer.flush()
    return Page(title, "\n\n".join(writer.blocks), writer.places())


def _lines_only(declaration: re.Match[str]) -> str:
    """Nothing of an XML declaration but its line ends, so that lines keep their numbers."""
    return "\n" * declaration.group().count("\n")


def _strip_tags(source: str) -> str:
    text = re.sub(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->", " ", source)
    return "\n".join(" ".join(line.split()) for line in unescape(_TAG.sub(" ", text)).split("\n")).strip()


def _main_element(root: html.HtmlElement) -> html.HtmlElement:
    for path in ("//main", "//*[@role='main']"):
        found = root.xpath(path)
        if found:
            return found[0]
    body = root.find(".//body")
    body = root if body is None else body
    articles = root.xpath("//article")
    if len(articles) == 1 and len(articles[0].text_content()) > 0.4 * len(body.text_content()):
        return articles[0]
    return body


@dataclass
class _Writer:
    """Collects inline text into blocks."""

    blocks: list[str] = field(default_factory=list)
    _buffer: list[str] = field(default_factory=list)
    _cells: list[str] | None = None
    _rows: list[str] = field(default_factory=list)
    _prefix: str = ""
    _pre: bool = False
    _line: int = 0
    _lines: list[int] = field(default_factory=list)

    def places(self) -> tuple[Place, ...]:
        """Where each block begins, labelled with its line in the source."""
        starts = accumulate((len(block) + 2 for block in self.blocks), initial=0)
        return tuple(Place(start, f"line {line}") for start, line in zip(starts, self._lines, strict=False) if line)

    def start(self, tag: str, line: int = 0) -> None:
        if tag == "br":
            self._buffer.append(_BREAK)
        elif tag == "tr":
            self._end_row()
            self.flush()
            self._cells = []
        elif self._cells is not None:
            if tag in {"td", "th"}:
                self._buffer.clear()
            elif tag in _BLOCK:
                self._buffer.append(" ")
        elif tag in _BLOCK or tag == "table":
            self.flush()
            self._line = line
            self._prefix = _PREFIX.get(tag, "")
            self._pre = tag == "pre"

    def end(self, tag: str) -> None:
        if tag == "tr":
            self._end_row()
        elif tag == "table":
            self._end_row()
            self._end_table()
        elif self._cells is not None:
            if tag in {"td", "th"}:
                self._cells.append(" ".join("".join(self._buffer).split()).replace("|", "/"))
                self._buffer.clear()
            elif tag in _BLOCK:
                self._buffer.append(" ")
        elif tag in _BLOCK:
            self.flush()

    def text(self, text: str) -> None:
        if text:
            self._buffer.append(text)

    def flush(self) -> None:
        """End the block that is being written."""
        raw = "".join(self._buffer)
        if self._pre and raw.strip():
            self._put("```\n" + raw.replace(_BREAK, "\n").strip("\n") + "\n```")
        else:
            text = "\n".join(" ".join(line.split()) for line in raw.split(_BREAK)).strip()
            if text:
                self._put(self._prefix + (" ".join(text.split()) if self._prefix else text))
        self._buffer.clear()
        self._prefix, self._pre = "", False

    def _put(self, block: str) -> None:
        self._end_table()
        if block.startswith("- ") and self.blocks and self.blocks[-1].split("\n")[-1].startswith("- "):
            self.blocks[-1] += "\n" + block
        else:
            self.blocks.append(block)
            self._lines.append(self._line)

    def _end_row(self) -> None:
        if self._cells and any(self._cells):
            self._rows.append("| " + " | ".join(self._cells) + " |")
        self._cells = None

    def _end_table(self) -> None:
        if self._rows:
            self.blocks.append("\n".join(self._rows))
            self._lines.append(self._line)
            self._rows = []
