"""Personal data by rule: find e-mail addresses, telephone numbers and IBANs, and replace them.

e-mail   local part @ domain with a top-level domain of letters
phone    +country code and 8 to 15 digits; 0-prefixed area code, separator, number; (212) 555-0100 and 212-555-0100;
         any grouped number straight after a cue such as `Tel.:` or `phone`. Versions, dates, ISBNs, IP addresses and
         numbers inside identifiers are not telephone numbers.
iban     country, two check digits, the country's length, and ISO 7064: the rearranged number mod 97 is 1

Chosen:   precision before recall in code and numbers: a bare row of digits is never a telephone number.
Left out: names, postal addresses and dates of birth: no rule finds them with useful precision.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from genwerk.data.marked import Edit, Marked

KINDS = ("email", "phone", "iban")

_LOCAL_EXTRA = frozenset(".+-_%'")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w(\[]|\.\w)")
_FREE = r"(?<![\w.+\-/=#$@:&%\\])"
_BEFORE = rf"{_FREE}(?<!\d[ \u00a0])"
_AFTER = r"(?![\w%]|[.\-/:]\d|\.\w)"
_GAP = r"[ \u00a0./-]"
_GROUPS = r"(?:(?:[ \u00a0/-]{1,3}\d{1,9}|\.\d{2,9}))"
_PHONES = (
    re.compile(rf"(?:{_FREE}\+|{_BEFORE}00)[1-9]\d{{0,2}}{_GAP}{{0,2}}(?:\(\d{{1,4}}\){_GAP}?)?\d{{1,12}}{_GROUPS}{{0,6}}{_AFTER}"),
    re.compile(rf"{_BEFORE}\(?0[1-9]\d{{1,4}}\)?(?: ?[/-] ?|[ \u00a0])\d{{2,9}}(?:[ \u00a0-]\d{{1,6}}){{0,4}}{_AFTER}"),
    re.compile(rf"{_BEFORE}0[1-9](?:[ .]\d{{2}}){{4}}{_AFTER}"),
    re.compile(rf"{_BEFORE}01[567]\d{{8,9}}{_AFTER}"),
    re.compile(rf"{_BEFORE}(?:1[-. ])?(?:\([2-9]\d{{2}}\) ?|[2-9]\d{{2}}-)\d{{3}}[-. ]\d{{4}}{_AFTER}"),
)  # fmt: skip
_RUN = re.compile(r"[+(]{0,2}\d[\d \u00a0()/.+-]{4,}")  # all that a telephone number is written with
_CUE = re.compile(
    r"(?i)\b(?:tel(?:efon|ephone|efax)?|phone|fax|mobile?|mobil(?:funk)?|handy|durchwahl)"
    r"(?:nummer| number|[- ]?nr)?\b[.:]{0,2}[ \t]{0,3}\Z"
)
_CUED = re.compile(r"\(?\+?\d[\d ()/\u00a0-]{4,22}\d(?![\w%]|[.\-/:]\d|\.\w)")
_DATE = re.compile(r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})\Z")
_BOOK = re.compile(r"(?i)(?:ISBN|ISSN|DOI|RFC|PEP)[-:\s\d]{0,12}\Z")
_IBAN = re.compile(r"(?<![A-Za-z0-9])([A-Z]{2})\d{2}(?:[ \u00a0-]?[A-Z0-9]){10,32}")
_IBAN_LENGTH = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18,
    "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29,
    "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pii:
    """Personal data at text[start:end]; `kind` is email, phone or iban."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Redaction:
    """The text with each find replaced by its kind in brackets, and how many of each kind there were."""

    text: str
    counts: Mapping[str, int]
    marks: tuple[int, ...] = ()


def find_pii(text: str, kinds: Collection[str] = KINDS) -> list[Pii]:
    """Personal data in `text`, by position, not overlapping; where kinds overlap, iban wins over email over phone."""
    finders = {"iban": _find_ibans, "email": _find_emails, "phone": _find_phones}
    taken: list[Pii] = []
    for kind, finder in finders.items():
        if kind in kinds:
            free = [pii for pii in finder(text) if not _overlaps(pii, taken)]
            taken = sorted(taken + free, key=lambda pii: pii.start)
    return taken


def _overlaps(pii: Pii, taken: list[Pii]) -> bool:
    """Whether `pii` touches one of `taken`, which are sorted and do not overlap."""
    after = bisect_left(taken, pii.end, key=lambda other: other.start)
    return after > 0 and taken[after - 1].end > pii.start


def redact(text: str, kinds: Collection[str] = KINDS, marks: tuple[int, ...] = ()) -> Redaction:
    """Replace personal data of these kinds by `[email]`, `[phone]` or `[iban]`. Doing it twice changes nothing more.

    `marks`, ascending positions in `text`, point at the same characters afterwards; one inside of a find, behind it.
    """
    counts: Counter[str] = Counter()
    marked = Marked(text, marks)
    while found := find_pii(marked.text, kinds):
        counts.update(pii.kind for pii in found)
        marked = marked.edited([Edit(pii.start, pii.end, f"[{pii.kind}]") for pii in found])
    return Redaction(marked.text, dict(sorted(counts.items())), marked.marks)


def is_iban(text: str) -> bool:
    """Whether `text` (spaces allowed) has its country's IBAN length and the ISO 7064 mod 97 checksum."""
    compact = re.sub(r"[\s-]", "", text).upper()
    if _IBAN_LENGTH.get(compact[:2]) != len(compact) or not compact.isascii() or not compact.isalnum():
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def _find_emails(text: str) -> Iterator[Pii]:
    position = text.find("@")
    while position != -1:
        start, floor = position, max(0, position - 64)
        while start > floor and (text[start - 1].isalnum() or text[start - 1] in _LOCAL_EXTRA):
            start -= 1
        while start < position and text[start] in ".'-%":
            start += 1
        domain = _DOMAIN.match(text, position + 1) if start < position else None
        if domain:
            yield Pii("email", start, domain.end())
        position = text.find("@", position + 1)


def _find_phones(text: str) -> Iterator[Pii]:
    spans: dict[tuple[int, int], bool] = {}
    for run in _RUN.finditer(text):
        start, end = run.start(), min(run.end() + 3, len(text))  # what follows decides whether the number is whole
        spans.update({match.span(): False for pattern in _PHONES for match in pattern.finditer(text, start, end)})
        if _CUE.search(text, max(0, start - 24), start) and (match := _CUED.match(text, start, end)):
            spans[match.span()] = True
    last = -1
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= last and _is_phone(text, start, end, cued=spans[start, end]):
            last = end
            yield Pii("phone", start, end)


def _is_phone(text: str, start: int, end: int, *, cued: bool) -> bool:
    number = text[start:end]
    digits = sum(character.isdigit() for character in number)
    fewest = 6 if cued else 8 if number.startswith("+") else 9 if number.replace(" ", "").isdigit() else 7
    if not fewest <= digits <= 15 or _DATE.match(number):
        return False
    return _BOOK.search(text, max(0, start - 20), start) is None


def _find_ibans(text: str) -> Iterator[Pii]:
    for match in _IBAN.finditer(text):
        wanted = _IBAN_LENGTH.get(match.group(1), 0)
        end, count = match.start(), 0
        while end < match.end() and count < wanted:
            count += text[end].isalnum()
            end += 1
        follows = text[end : end + 1]
        if count == wanted and not (follows.isascii() and follows.isalnum()) and is_iban(text[match.start() : end]):
            yield Pii("iban", match.start(), end)
