"""Sections: headings cut a document into titled spans that tile its text.

Headings are found by the document's format (`metadata["format"]`, else the suffix of its source):

    markdown    # ATX headings outside fences, and titles underlined with === or ---  (HTML is read into this format)
    rst         titles underlined (and overlined) by one repeated sign; signatures at column 0 over an indented block
    docstrings  `# module`, `## module.function(arguments)`: the headings that `python_docs` writes
    python      top-level `def` and `class`
    code        none
    plain       as markdown, then as rst

The text after an indented definition that starts again at column 0 belongs to the enclosing title. `start` of the first
section is 0, `end` of the last is len(text), each section starts where the one before ends.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from genwerk.core.types import Document

_SUFFIX_FORMAT = {
    "md": "markdown", "markdown": "markdown", "html": "markdown", "htm": "markdown", "xhtml": "markdown",
    "docx": "markdown", "pdf": "markdown", "pptx": "markdown", "xlsx": "markdown",
    "eml": "markdown", "epub": "markdown", "rst": "rst", "py": "python",
}  # fmt: skip
_ATX = re.compile(r"(#{1,6})[ \t]+(\S.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_RULER = re.compile(r"([=\-*~^\"'+#.:_`])\1{2,}\s*$")
_SIGNATURE = re.compile(
    r"(?:(?:class|classmethod|staticmethod|static|exception|async|coroutine|final)\s+)*([A-Za-z_][\w.]*)(\(.*\))?$"
)
_PYTHON = re.compile(r"(?:async\s+)?(?:def|class)\s+([A-Za-z_]\w*)")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,3})(\S(?:.*?\S)?)\1(?!\w)|(?<!\w)(_{1,2})(\w+ (?:.*?\S)?)\3(?!\w)")
_MAX_TITLE = 120


@dataclass(frozen=True, slots=True)
class Section:
    """text[start:end] under `title`; `body` is where the text after the heading begins; level 0 is the preamble."""

    document_id: str
    title: str
    start: int
    end: int
    level: int
    body: int


@dataclass(frozen=True, slots=True)
class _Mark:
    start: int
    body: int
    title: str
    level: int


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    text: str


def split_sections(document: Document) -> list[Section]:
    """Sections that tile `document.text`; one section with the document's title where there is no heading."""
    return list(_split(document.id, document.text, document_format(document), title_of(document)))


@lru_cache(maxsize=32)  # passages of one answer stand in few documents
def _split(identity: str, text: str, kind: str, name: str) -> tuple[Section, ...]:
    if not text:
        return ()
    marks = _find_marks(text, kind, name)
    if not marks or text[: marks[0].start].strip():
        marks.insert(0, _Mark(0, 0, name, 0))
    sections = []
    for index, mark in enumerate(marks):
        end = marks[index + 1].start if index + 1 < len(marks) else len(text)
        start = mark.start if index else 0
        sections.append(Section(identity, mark.title, start, end, mark.level, min(mark.body, end)))
    return tuple(sections)


def title_of(document: Document) -> str:
    """The document's own title, or the name of its file."""
    return clean_title(document.metadata.get("title", "")) or document.source.rsplit("/", 1)[-1]


def section_paths(sections: Sequence[Section]) -> list[tuple[Section, ...]]:
    """Of each section the ones it stands under, outermost first, and itself; the preamble is under nothing."""
    paths, trail = [], list[Section]()
    for section in sections:
        trail = [one for one in trail if one.level < section.level]
        trail += [section] if section.level else []
        paths.append(tuple(trail))
    return paths


def shared_path(paths: Sequence[Sequence[Section]]) -> list[Section]:
    """What all paths begin with."""
    return [steps[0] for steps in takewhile(lambda steps: len(set(steps)) == 1, zip(*paths, strict=False))]


def headings_over(document: Document, start: int, end: int) -> list[str]:
    """The headings that all of text[start:end] stands under, outermost first, the document's own title left out."""
    sections = split_sections(document)
    first = bisect_right(sections, start, key=lambda one: one.start) - 1
    last = bisect_left(sections, end, key=lambda one: one.start)
    titles = [section.title for section in shared_path(section_paths(sections)[max(0, first) : last])]
    return titles[1:] if titles[:1] == [title_of(document)] else titles


def document_format(document: Document) -> str:
    """The format that decides what a heading is; see the module's list."""
    suffix = document.source.split("#", 1)[0].rsplit(".", 1)[-1].lower()
    return document.metadata.get("format") or _SUFFIX_FORMAT.get(suffix, "plain")


def clean_title(title: str) -> str:
    """A heading without markup: links, code ticks, emphasis, permalink signs and doubled white space are removed."""
    title = _LINK.sub(r"\1", title).replace("`", "").replace("¶", "")
    title = _EMPHASIS.sub(lambda match: match.group(2) or match.group(4), title)
    return " ".join(title.split()).strip("#* ").removesuffix(":")


def _find_marks(text: str, kind: str, name: str) -> list[_Mark]:
    lines = _lines(text)
    if kind == "code":
        return []
    if kind == "python":
        return list(_python_marks(lines))
    if kind == "docstrings":
        return [mark for mark in _atx_marks(lines, signatures=True) if _belongs(mark.title, name)]
    if kind == "rst":
        return list(_rst_marks(lines))
    marks = {mark.start: mark for mark in _rst_marks(lines)} if kind == "plain" else {}
    marks.update({mark.start: mark for mark in _setext_marks(lines)})
    marks.update({mark.start: mark for mark in _atx_marks(lines)})
    return [marks[start] for start in sorted(marks)]


def _belongs(title: str, module: str) -> bool:
    return title == module or title.startswith(module + ".")


def _lines(text: str) -> list[_Line]:
    found, position = [], 0
    for line in text.split("\n"):
        end = min(position + len(line) + 1, len(text))
        found.append(_Line(position, end, line))
        position = end
    return found


def _atx_marks(lines: list[_Line], *, signatures: bool = False) -> Iterator[_Mark]:
    fence = ""
    for line in lines:
        opened = _FENCE.match(line.text)
        if opened and (not fence or opened.group(1) == fence):
            fence = "" if fence else opened.group(1)
        match = None if fence or not line.text.startswith("#") else _ATX.match(line.text)
        if match:
            title = clean_title(match.group(2).split("(", 1)[0].split()[-1] if signatures else match.group(2))
            if title and len(title) <= _MAX_TITLE:
                yield _Mark(line.start, line.end, title, len(match.group(1)))


def _setext_marks(lines: list[_Line]) -> Iterator[_Mark]:
    """Markdown's underlined titles: one line of text after a blank line, then === (level 1) or --- (level 2)."""
    fence = False
    for index, line in enumerate(lines[:-1]):
        if _FENCE.match(line.text):
            fence = not fence
        under = lines[index + 1]
        blank_before = index == 0 or not lines[index - 1].text.strip()
        if fence or not blank_before or not re.match(r"(={3,}|-{3,})\s*$", under.text) or not _can_be_title(line.text):
            continue
        yield _Mark(line.start, under.end, clean_title(line.text), 1 if under.text[0] == "=" else 2)


def _can_be_title(text: str) -> bool:
    good = bool(text) and not text[0].isspace() and 0 < len(text.strip()) <= _MAX_TITLE
    return good and not _RULER.match(text) and any(character.isalnum() for character in text)


def _rst_marks(lines: list[_Line]) -> Iterator[_Mark]:
    """Underlined titles, and definitions; after a definition the enclosing title continues."""
    levels: dict[tuple[str, bool], int] = {}
    title, level, index = "", 0, 0
    in_definition = False
    while index < len(lines):
        line = lines[index]
        heading = _underlined(lines, index)
        definition = None if heading else _definition(lines, index)
        if heading:
            over, style = heading
            title, level = clean_title(lines[index + over].text), levels.setdefault(style, len(levels) + 1)
            yield _Mark(line.start, lines[index + over + 1].end, title, level)
            index, in_definition = index + over + 2, False
        elif definition:
            last, names = definition
            yield _Mark(line.start, lines[last].end, names, level + 1)
            index, in_definition = last + 1, True
        else:
            if in_definition and line.text and not line.text[0].isspace():
                in_definition = False
                yield _Mark(line.start, line.start, title or "Overview", level)
            index += 1


def _underlined(lines: list[_Line], index: int) -> tuple[int, tuple[str, bool]] | None:
    """(1 if overlined else 0, style) where a title begins at `index`."""
    over = 1 if _RULER.match(lines[index].text) else 0
    if index + over + 1 >= len(lines) or (index and lines[index - 1].text.strip()):
        return None
    title, under = lines[index + over].text.rstrip(), lines[index + over + 1].text.rstrip()
    if not _RULER.match(under) or (over and lines[index].text.rstrip() != under):
        return None
    if not _can_be_title(title.strip() if over else title) or len(under) < len(title):
        return None
    return over, (under[0], bool(over))


def _definition(lines: list[_Line], index: int) -> tuple[int, str] | None:
    """(index of the last signature line, clean names) where signatures stand over an indented block."""
    names = []
    last = index
    if index and lines[index - 1].text.strip():
        return None
    while last < len(lines) and (match := _signature(lines[last].text)):
        names.append(match)
        last += 1
    if not names or last + 1 >= len(lines) or lines[last].text.strip() or not lines[last + 1].text.startswith("   "):
        return None
    return last - 1, ", ".join(dict.fromkeys(names[:3]))


def _signature(text: str) -> str | None:
    match = _SIGNATURE.match(text.rstrip()) if text and not text[0].isspace() and len(text) <= 200 else None
    if match is None or len(match.group(1)) < 2:
        return None
    if not (match.group(2) or "." in match.group(1).strip(".") or text.startswith("class ")):
        return None
    return match.group(1)


def _python_marks(lines: list[_Line]) -> Iterator[_Mark]:
    decorated: int | None = None
    for line in lines:
        match = _PYTHON.match(line.text)
        if match:
            yield _Mark(line.start if decorated is None else decorated, line.end, match.group(1), 1)
            decorated = None
        elif line.text.startswith("@"):
            decorated = line.start if decorated is None else decorated
        elif line.text and not line.text[0].isspace() and not line.text.startswith(")"):
            decorated = None
