"""PDFs whose truth is known: are words, headings, tables and code read as they were written, and how fast?

Pages of Python's documentation and of Debian's handbook in German are printed by Chromium; their truth is what the
browser shows. Manuals made with LaTeX, texinfo and groff come as PDF from Debian; the truth of their words is
poppler's `pdftotext`, which Genwerk does not use. Its pages are those of all.

    words      in reading order, letters and digits only; right where `diff` finds them in both
    cut        words of the truth that are read as several, joined: words read that are several in the truth, in 1,000
    headings   h1 to h6 of the page; tables: a run of rows that holds half the words of a table, and half of whose
               words are the table's; code: lines of <pre> that are lines of what was read
    right      share of the pages that hold nine tenths of the words that pdftotext finds on them
    s/page     seconds of processor time a page; p and r are precision and recall

    python benchmarks/pdf_reading.py
    python benchmarks/pdf_reading.py json bash --rounds 3     # some only; the fastest of three rounds counts

Needs Debian's `chromium` and `poppler-utils`, and what it reads from Debian.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from genwerk.core.assets import fetch
from genwerk.core.progress import track
from genwerk.data.pdf import read_pdf
from genwerk.data.raw import RawDocument, ReadOptions

PYTHON = "deb:python3.11-doc=3.11.2-6+deb12u9!/usr/share/doc/python3.11/html/"
HANDBOOK = "deb:debian-handbook=11.20220922!/usr/share/doc/debian-handbook/html/de-DE/"
COLUMNS = "body { column-count: 2; column-gap: 10pt; text-align: justify } pre { white-space: pre-wrap !important }"
PRINTED = {
    "json": (PYTHON, "library/json", ""),
    "struct": (PYTHON, "library/struct", ""),
    "argparse": (PYTHON, "library/argparse", ""),
    "pathlib": (PYTHON, "library/pathlib", ""),
    "sockets": (PYTHON, "howto/sockets", COLUMNS),
    "apt-get": (HANDBOOK, "sect.apt-get", ""),
    "backup": (HANDBOOK, "sect.backup", ""),
}
MANUALS = {
    "developers": "deb:developers-reference-de=12.18!/usr/share/developers-reference/de/developers-reference.pdf",
    "bash": "deb:bash-doc=5.2.15-2!/usr/share/doc/bash/bash.pdf",
    "bashref": "deb:bash-doc=5.2.15-2!/usr/share/doc/bash/bashref.pdf",
    "tasn1": "deb:libtasn1-doc=4.19.0-2+deb12u1!/usr/share/doc/libtasn1-doc/libtasn1.pdf",
}
_LONGEST_RUN = 8
_WIDTHS = (11, 7, 8, 8, 7, 8, 14, 12, 6, 7, 8)
_COLUMNS = ("", "pages", "words p", "words r", "cut", "joined", "headings p r", "tables p r", "code", "right", "s/page")


@dataclass(frozen=True)
class Truth:
    """A PDF and what stands in it; without headings, tables and code where only the words are known."""

    pdf: Path
    pages: list[list[str]]
    words: list[str]
    headings: list[str] = field(default_factory=list)
    tables: list[list[str]] = field(default_factory=list)
    code: list[str] = field(default_factory=list)


def words_of(text: str) -> list[str]:
    """Words of letters and digits only, in one form, hyphens at line ends taken out."""
    text = unicodedata.normalize("NFKC", re.sub(r"(?<=\w)[-\u2010\u00ad]\n\s*(?=\w)", "", text)).casefold()
    return [word for word in (re.sub(r"[\W_]+", "", one) for one in text.split()) if word]


def poppler(pdf: Path) -> list[str]:
    return subprocess.run(["pdftotext", pdf, "-"], check=True, capture_output=True, text=True).stdout.split("\f")[:-1]


def printed(browser: Page, source: Path, style: str, pdf: Path) -> Truth:
    browser.goto(source.as_uri())
    browser.emulate_media(media="print")
    if style:
        browser.add_style_tag(content=style)
    browser.pdf(path=pdf)
    shown = {
        name: browser.locator(f"{tags}:visible").all_inner_texts()
        for name, tags in (("headings", ":is(h1,h2,h3,h4,h5,h6)"), ("tables", "table"), ("code", "pre"))
    }
    return Truth(
        pdf,
        [words_of(page) for page in poppler(pdf)],
        words_of(browser.inner_text("body")),
        ["".join(words_of(heading)) for heading in shown["headings"]],
        [words_of(table) for table in shown["tables"]],
        [line for block in shown["code"] for line in _lines_of(block)],
    )


def manual(pdf: Path) -> Truth:
    pages = poppler(pdf)
    return Truth(pdf, [words_of(page) for page in pages], words_of("\n".join(pages)))


def truths(names: Sequence[str], folder: Path) -> dict[str, Truth]:
    found = {name: manual(fetch(spec, sha256=sha256)) for name, (spec, sha256) in MANUALS.items() if name in names}
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        for name in names:
            if name in PRINTED:
                spec, path, style = PRINTED[name]
                found[name] = printed(page, fetch(spec) / f"{path}.html", style, folder / f"{name}.pdf")
        browser.close()
    return {name: found[name] for name in names}


def read(pdf: Path, rounds: int) -> tuple[RawDocument, float]:
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        (document,) = read_pdf(pdf, ReadOptions())
        seconds.append(time.process_time() - started)
    if not isinstance(document, RawDocument):
        raise SystemExit(f"{pdf}: {document.detail}")
    return document, min(seconds)


def in_both(truth: Sequence[str], ours: Sequence[str]) -> tuple[int, int, int]:
    """Words in both in the same order, words that were cut, words that were joined."""
    with tempfile.TemporaryDirectory() as temporary:
        for name, words in (("truth", truth), ("ours", ours)):
            (Path(temporary) / name).write_text("".join(f"{word}\n" for word in words))
        marks = ("--old-line-format=-%L", "--new-line-format=+%L", "--unchanged-line-format==%L")
        both = subprocess.run(["diff", *marks, "truth", "ours"], cwd=temporary, capture_output=True, text=True)
    same = cut = joined = 0
    for equal, lines in groupby(both.stdout.splitlines(), key=lambda line: line[0] == "="):
        hunk = list(lines)
        if equal:
            same += len(hunk)
            continue
        old, new = ([line[1:] for line in hunk if line[0] == sign] for sign in "-+")
        cut += sum(word in _runs(new) for word in old)
        joined += sum(word in _runs(old) for word in new)
    return same, cut, joined


def _runs(words: Sequence[str]) -> set[str]:
    lengths = range(2, _LONGEST_RUN + 1)
    return {"".join(words[at : at + n]) for n in lengths for at in range(len(words) - n + 1)}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _overlap(found: Iterable[str], wanted: Iterable[str]) -> int:
    return (Counter(found) & Counter(wanted)).total()


def headings_in(text: str) -> list[str]:
    outside = re.sub(r"(?ms)^```\n.*?^```$", "", text)
    return ["".join(words_of(line)) for line in re.findall(r"(?m)^#{1,6} (.+)$", outside)]


def tables_in(text: str) -> list[list[str]]:
    return [words_of(rows) for rows in re.findall(r"(?m)(?:^\|.*\|$\n?)+", text)]


def _lines_of(block: str) -> list[str]:
    return [line for line in ("".join(line.split()) for line in block.splitlines()) if line]


def _tables(found: Sequence[list[str]], wanted: Sequence[list[str]]) -> tuple[float, float]:
    """Parts of a table that goes on over a page are tables of their own."""
    parts = [[one for one in found if _overlap(one, table) >= len(one) / 2] for table in wanted]
    whole = sum(
        _overlap((word for part in some for word in part), table) >= len(table) / 2
        for some, table in zip(parts, wanted, strict=True)
    )
    right = sum(any(one in some for some in parts) for one in found)
    return _share(right, len(found)), _share(whole, len(wanted))


def _pages_right(truth: Truth, document: RawDocument) -> float:
    starts = [*document.places, None]
    ours = {
        int(place.label.removeprefix("page ")): words_of(document.text[place.start : after.start if after else None])
        for place, after in zip(document.places, starts[1:], strict=True)
    }
    full = {number: words for number, words in enumerate(truth.pages, 1) if words}
    right = sum(_overlap(ours.get(number, ()), words) >= 0.9 * len(words) for number, words in full.items())
    return _share(right, len(full))


def report(name: str, truth: Truth, rounds: int) -> str:
    document, seconds = read(truth.pdf, rounds)
    ours = words_of(document.text)
    same, cut, joined = in_both(truth.words, ours)
    row = [name, str(len(truth.pages)), f"{same / len(ours):.3f}", f"{same / len(truth.words):.3f}"]
    row += [f"{1000 * count / len(truth.words):.1f}" for count in (cut, joined)]
    found = headings_in(document.text)
    common = _overlap(found, truth.headings)
    tables = _tables(tables_in(document.text), truth.tables)
    for precision, recall, known in (
        (_share(common, len(found)), _share(common, len(truth.headings)), truth.headings),
        (*tables, truth.headings),
    ):
        row.append(f"{precision:.2f} {recall:.2f}" if known else "")
    row.append(f"{_share(_overlap(_lines_of(document.text), truth.code), len(truth.code)):.2f}" if truth.code else "")
    row += [f"{_pages_right(truth, document):.2f}", f"{seconds / len(truth.pages):.4f}"]
    return _row(row)


def _row(cells: Sequence[str]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join([*PRINTED, *MANUALS])}")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the texts that were read")
    options = parser.parse_args()
    names = options.names or [*PRINTED, *MANUALS]
    if unknown := set(names) - {*PRINTED, *MANUALS}:
        parser.error(f"no such PDF: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        known = truths(names, Path(temporary))
        rows = []
        with track("reading", total=len(known), unit="PDFs") as bar:
            for name, truth in known.items():
                rows.append(report(name, truth, options.rounds))
                bar.advance()
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{name}.md").write_text(read(truth.pdf, 1)[0].text)
                    shutil.copyfile(truth.pdf, options.keep / f"{name}.pdf")
    print("\n".join([_row(_COLUMNS), *rows]))


if __name__ == "__main__":
    main()
