"""From the lines of pages to one text: paragraphs joined, over columns and pages too, headings, no running headers.

    code       lines in typewriter (`line_kinds`, as headings are) stay lines, indented, between fences
    running    headers, footers and page numbers go (`running_lines`)
    hyphens    `exam-` + `ple` is `example`; the hyphen stays before a capital or a digit, where the document has the
               word with it elsewhere, and before `und`, `or`, ... (`Ein- und Ausgabe`)

A page's place is the first character of its text, in the middle of a paragraph where that goes on over the page break.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from genwerk.data.line_kinds import LEADER, LineKinds, usual_leading
from genwerk.data.page_layout import Line, blanks
from genwerk.data.places import Place
from genwerk.data.running_lines import running_lines

_EMPTY_LINE = 1.7
_BULLET = re.compile(r"[•◦▪‣●○■\uf0b7]\s*(?=\S)|[-–*·] +(?=\S)")
_SURE_BULLET = re.compile(r"[•◦▪‣●○■\uf0b7]\s*\S")
_ITEM = re.compile(r"[-–*·] +\S|(?:\d{1,3}|[a-z])[.)] ")
_MAY_END = re.compile(r"[.!?:;,…][\"'”’»)\]]*$")
_ENDED = re.compile(r"[.!?:…][\"'”’»)\]]*$")
_HYPHENATED = re.compile(r"(\w+)[-\u2010\u00ad]$")
_SUSPENDED = frozenset(("und", "oder", "bzw", "bis", "sowie", "and", "or", "to"))
_WORD = re.compile(r"\w+(?:-\w+)*")


@dataclass(frozen=True, slots=True)
class Joined:
    """The text in Markdown, where its pages begin, and how many running lines were left out."""

    text: str
    places: tuple[Place, ...]
    running: int


@dataclass
class _Block:
    kind: str
    text: str
    starts: list[tuple[int, int]] = field(default_factory=list)
    """(position in `text`, page)"""


def join_pages(pages: Mapping[int, Sequence[Line]], outline: Mapping[str, int] | None = None) -> Joined:
    """One text of all pages, by number; `outline` gives the depth (1 is highest) of titles in lower case."""
    kept = {page: list(lines) for page, lines in pages.items() if lines}
    running = running_lines(kept)
    kept = {page: [line for line in lines if (page, id(line)) not in running] for page, lines in kept.items()}
    writer = _Writer(kept, {" ".join(title.split()).lower(): depth for title, depth in (outline or {}).items()})
    for page, lines in kept.items():
        writer.page(page, lines)
    return _text(writer.blocks, len(running))


def _text(blocks: Sequence[_Block], running: int) -> Joined:
    text, places, before = "", [], ""
    pieces: list[str] = []
    length = 0
    for block in blocks:
        between = "" if not before else "\n" if block.kind == before and before in {"row", "item"} else "\n\n"
        closed = block.text + "\n```" * (block.kind == "code")
        pieces += [between, closed]
        places += [Place(length + len(between) + start, f"page {page}") for start, page in block.starts]
        length += len(between) + len(closed)
        before = block.kind
    text = "".join(pieces)
    return Joined(text, tuple(places), running)


class _Writer:
    """Collects lines into blocks."""

    def __init__(self, pages: Mapping[int, Sequence[Line]], outline: Mapping[str, int]) -> None:
        self.blocks: list[_Block] = []
        lines = [line for page in pages.values() for line in page]
        self._kinds = LineKinds(lines, outline)
        self._words = Counter(word.lower() for line in lines for word in _WORD.findall(line.text))
        self._last: Line | None = None

    def page(self, page: int, lines: Sequence[Line]) -> None:
        """Add a page's lines; the first may go on with the paragraph before."""
        leading = usual_leading(lines)
        kinds = self._kinds.of_page(lines, leading)
        edges = _edges(lines, kinds)
        for index, (line, kind) in enumerate(zip(lines, kinds, strict=True)):
            if line.pitch and kind != "code":
                line = replace(line, text=" ".join(line.text.split()))
            starts = page if index == 0 else 0
            if kind == "code":
                self._code(line, edges[index], leading, starts)
            elif self._goes_on(line, kind, leading, new_page=index == 0):
                self._append(line, starts)
            else:
                self._begin(line, kind, starts)
            self._last = line

    def _begin(self, line: Line, kind: str, page: int) -> None:
        text = self._folded(line.text) if line.row else line.text
        if kind == "text" and (bullet := _BULLET.match(text)):
            kind, text = "item", f"- {text[bullet.end() :]}"
        elif kind.startswith("heading"):
            text = f"{'#' * int(kind[-1])} {text}"
        self.blocks.append(_Block(kind, text, [(0, page)] if page else []))

    def _folded(self, text: str) -> str:
        first, *more = text.split("\n")
        for line in more:
            first = "".join(_seam(first, line, self._words)) + line
        return first

    def _append(self, line: Line, page: int) -> None:
        block = self.blocks[-1]
        before, between = _seam(block.text, line.text, self._words)
        block.text = before + between
        if page:
            block.starts.append((len(block.text), page))
        block.text += line.text

    def _code(self, line: Line, edge: float, leading: float, page: int) -> None:
        """A line of code stays one, indented from the edge of its block; a line left empty above it stays empty."""
        if not self.blocks or self.blocks[-1].kind != "code":
            self.blocks.append(_Block("code", "```"))
        block = self.blocks[-1]
        gap = self._last.y - line.y if self._last and block.text != "```" and not page else 0.0
        block.text += "\n\n" if gap > _EMPTY_LINE * leading * line.size else "\n"
        if page:
            block.starts.append((len(block.text), page))
        block.text += " " * blanks(line.x0 - edge, line.pitch) + line.text

    def _goes_on(self, line: Line, kind: str, leading: float, *, new_page: bool) -> bool:
        last = self._last
        if last is None or kind == "row" or _begins_item(last, line) or LEADER.search(last.text):
            return False
        before = self.blocks[-1].kind
        gap = last.y - line.y
        if kind.startswith("heading"):
            return kind == before and not new_page and 0 < gap <= 1.6 * line.size
        if before not in {"text", "item"} or abs(line.size - last.size) > 0.08 * max(line.size, last.size):
            return False
        if new_page or gap <= 0:
            return not _ENDED.search(last.text) and (_is_full(last) or line.text[:1].islower())
        return not _new_paragraph(last, line, gap, leading)


def _edges(lines: Sequence[Line], kinds: Sequence[str]) -> dict[int, float]:
    """Where the runs of code begin at the left, by the places of their lines."""
    found: dict[int, float] = {}
    for code, run in groupby(range(len(lines)), key=lambda index: kinds[index] == "code"):
        places = list(run)
        found |= dict.fromkeys(places, min(lines[index].x0 for index in places)) if code else {}
    return found


def _is_full(line: Line) -> bool:
    return line.x1 >= line.right - 0.15 * (line.right - line.left)


def _begins_item(last: Line, line: Line) -> bool:
    """A dash or a number at the start of a line begins an item only where the line before may end one."""
    if _SURE_BULLET.match(line.text):
        return True
    return bool(_ITEM.match(line.text)) and (not _is_full(last) or bool(_MAY_END.search(last.text)))


def _new_paragraph(last: Line, line: Line, gap: float, leading: float) -> bool:
    ended, full = bool(_ENDED.search(last.text)), _is_full(last)
    if gap > (1.9 if full and not ended else 1.35) * leading * line.size:
        return True
    if last.x1 < last.left + 0.6 * (last.right - last.left) and not line.text[:1].islower():
        return True
    indented = line.x0 > line.left + 0.9 * line.size and last.x0 <= line.left + 0.5 * line.size
    short = last.x1 < last.right - 0.2 * (last.right - last.left)
    return ended and (indented or short)


def _seam(before: str, after: str, words: Mapping[str, int]) -> tuple[str, str]:
    """What stays of the text before the line end, and what comes between it and the next line."""
    hyphen = _HYPHENATED.search(before)
    start = _WORD.match(after)
    if not hyphen or not start:
        return before, " "
    first, second = hyphen.group(1).lower(), start.group().lower()
    if second in _SUSPENDED:
        return before, " "
    whole = words.get(first + second, 0) >= max(1, words.get(f"{first}-{second}", 0))
    if not whole and (not after[0].islower() or f"{first}-{second}" in words or first[-1].isdigit()):
        return before, ""
    return before[:-1], ""
