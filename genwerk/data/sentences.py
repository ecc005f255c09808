"""Sentences as spans: where each sentence of a text starts and ends, without copying or changing a character.

A block is a run of lines without a blank line; headings, table rows, doctest lines and list items start a block of
their own. Within a block a sentence ends at . ! ? or … (closing quotes and citation marks such as [2] included) when
white space and something that can begin a sentence follow. Rules, not a model: the same text always gives the same
spans, in English and in German.

Left out: sentences without any letter or digit (rulers, table borders).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ABBREVIATION_WORDS = (
    "e.g i.e cf vs etc resp approx incl fig figs eq sec ch vol no nos pp ed eds dr mr mrs ms prof st jr sr inc ltd "
    "dept z.b d.h u.a u.ä v.a i.d.r z.t bzw usw vgl ggf evtl ca nr abs art str tel abb kap bspw inkl max min geb hrsg "
    "al jan feb mar apr jun jul aug sep sept oct nov dec okt dez"
)
_AFTER_ORDINAL = (
    "januar februar märz april mai juni juli august september oktober november dezember jänner "
    "jahrhundert quartal kapitel absatz"
)
_ABBREVIATIONS = frozenset(_ABBREVIATION_WORDS.split())
_ORDINAL_NOUNS = tuple(_AFTER_ORDINAL.split())
_SOLO = re.compile(r"\s*(#{1,6}\s|\||\+[-=]|>>> |\.\.\. |>>>$|```|~~~)")
_RULER = re.compile(r"\s*([=\-*~^\"'+#.:_`])\1{2,}\s*$")
_ITEM = re.compile(r"\s*(?:[-*•+–]|\(?\d{1,3}[.)]|[a-zA-Z]\))\s+")
_END = re.compile(r"""(?:[.!?…]+["'”’»)\]*_`]*(?:[ \t]?\[\d{1,3}\])*(?=\s|\Z)|[。！？]+[”」]?)""")
_START = re.compile(r"""\s*(["'“„«(\[*_`‘]*)(\S)""")


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Spans (start, end) of the sentences of `text`, in order, not overlapping, without white space at their edges."""
    spans: list[tuple[int, int]] = []
    for start, end, alone in _blocks(text):
        for first, last in [(start, end)] if alone else _cut(text, start, end):
            piece = text[first:last]
            stripped = piece.strip()
            if any(character.isalnum() for character in stripped):
                first += len(piece) - len(piece.lstrip())
                spans.append((first, first + len(stripped)))
    return spans


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Spans of blocks: paragraphs and list items, and lines that stand alone and are not cut (True)."""
    start: int | None = None
    position = 0
    for line in text.splitlines(keepends=True):
        end = position + len(line)
        blank, ruler = not line.strip(), _RULER.match(line) is not None
        alone = blank or ruler or _SOLO.match(line) is not None
        if start is not None and (alone or _ITEM.match(line)):
            yield start, position, False
            start = None
        if alone and not blank and not ruler:
            yield position, end, True
        elif not alone and start is None:
            start = position
        position = end
    if start is not None:
        yield start, position, False


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut one block at its sentence ends."""
    item = _ITEM.match(text, start, end)
    begin = start
    for match in _END.finditer(text, item.end() if item else start, end):
        if match.end() < end and _is_boundary(text, begin, match, end):
            yield begin, match.end()
            begin = match.end()
    if begin < end:
        yield begin, end


def _is_boundary(text: str, begin: int, match: re.Match[str], end: int) -> bool:
    mark = match.group()
    following = _START.match(text, match.end(), end)
    if following is None or mark[0] in "。！？":
        return True
    opening, first = following.groups()
    if first.islower() and not set(opening) & set('"“„«`'):
        return False
    if mark[0] != "." or mark.startswith(".."):
        return True
    words = text[max(begin, match.start() - 32) : match.start()].split()
    word = words[-1].lstrip("([\"'“„*_`").lower() if words else ""
    if word in _ABBREVIATIONS and not (word in {"etc", "usw"} and first.isupper()):
        return word in {"no", "min", "max", "art", "mar", "dec", "jan", "al"} and not first.isdigit()
    if len(word) == 1 and word.isalpha() and mark == ".":
        return False  # an initial: J. Smith
    if word.isdigit() and len(word) <= 2 and mark == ".":
        return not text[following.start(2) : following.start(2) + 12].lower().startswith(_ORDINAL_NOUNS)
    return True
