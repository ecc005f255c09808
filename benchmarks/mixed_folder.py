"""A folder of mixed real files, through the commands a user types: are its answers cited to the page?

    python benchmarks/mixed_folder.py                        # makes the folder, init, run, serve, ask
    python benchmarks/mixed_folder.py --folder ./mixed       # and keeps folder, workspace and pictures there

The folder holds Python's documentation as HTML, Debian's handbook in German as HTML, and chapters of both printed to
PDF by Chromium. Asked are questions that these chapters answer, in both languages. A citation's page is right if
poppler's `pdftotext`, which Genwerk does not use, finds the quote on that page. Needs Debian's `chromium` and
`poppler-utils`, and the two documentations from Debian.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import expect, sync_playwright

from genwerk.core.assets import fetch
from genwerk.core.progress import say, track

PYTHON = "deb:python3.11-doc=3.11.2-6+deb12u9!/usr/share/doc/python3.11/html/"
HANDBOOK = "deb:debian-handbook=11.20220922!/usr/share/doc/debian-handbook/html/de-DE/"
PRINTED = {
    PYTHON: ("library/json", "library/tempfile", "library/pathlib", "library/argparse"),
    HANDBOOK: ("sect.apt-get", "sect.dhcp", "sect.building-first-package", "sect.backup"),
}
STARTING = 8  # times that is knocked, at twice the distance each time: a minute in all
ASKED = (
    "What does tempfile.mkdtemp do?",
    "How is NamedTemporaryFile different from TemporaryFile?",
    "Which directory does gettempdir return?",
    "What is SpooledTemporaryFile?",
    "How do I pretty print JSON?",
    "What does json.dumps do with skipkeys?",
    "When is JSONDecodeError raised?",
    "Which JSON type does a Python tuple become?",
    "What is a pure path in pathlib?",
    "What does Path.glob do?",
    "How do I rename a file with pathlib?",
    "What does Path.read_text return?",
    "What does parse_known_args do?",
    "What does the nargs argument of add_argument mean?",
    "How do I make an option required in argparse?",
    "What does the store_true action do?",
    "Wie entfernt man ein Paket mit apt?",
    "Wie aktualisiert man das System mit apt?",
    "Was ist ein Meta-Paket?",
    "Wozu dient der Befehl equivs-build?",
    "Was ist DHCP?",
    "Welches Debian-Paket enthält den DHCP-Server?",
    "Wie werden bei Falcot Corp. Daten mit rsync gesichert?",
    "Was ist eine feste Verknüpfung?",
)


@dataclass(frozen=True)
class PageCited:
    """A citation of a PDF: which pages it names, and whether the quote stands there."""

    source: str
    place: str
    right: bool


def make_folder(folder: Path) -> None:
    """HTML in two languages, and PDFs of other pages of both. What is printed is not there as HTML."""
    for spec, name in ((PYTHON, "python"), (HANDBOOK, "handbuch")):
        root, printed = fetch(spec), PRINTED[spec]
        pages = [*root.glob("tutorial/*.html"), *root.glob("howto/*.html"), *root.glob("faq/*.html")]
        for page in pages or root.glob("*.html"):
            if page.relative_to(root).with_suffix("").as_posix() not in printed:
                target = folder / name / page.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(page, target)
        (folder / "pdf").mkdir(exist_ok=True)
        with track(f"printing {name}", total=len(printed), unit="pages") as bar:
            for page in printed:
                target = folder / "pdf" / f"{Path(page).name.removeprefix('sect.')}.pdf"
                options = ["--headless", "--no-sandbox", "--no-pdf-header-footer", f"--print-to-pdf={target}"]
                subprocess.run(["chromium", *options, root / f"{page}.html"], check=True, capture_output=True)
                bar.advance()


def pages_of(pdf: Path) -> list[str]:
    text = subprocess.run(["pdftotext", "-layout", pdf, "-"], check=True, capture_output=True, text=True).stdout
    return text.split("\f")[:-1]


def cited_pages(citations: list[dict[str, Any]], folder: Path) -> list[PageCited]:
    found = []
    for citation in citations:
        place = re.fullmatch(r"page (\d+)|pages (\d+)-(\d+)", citation["place"])
        if not citation["source"].endswith(".pdf") or place is None:
            continue
        first, last = int(place[1] or place[2]), int(place[1] or place[3])
        read = "".join(pages_of(folder / "pdf" / Path(citation["source"]).name)[first - 1 : last])
        found.append(PageCited(citation["source"], citation["place"], _letters(citation["quote"]) in _letters(read)))
    return found


def _letters(text: str) -> str:
    """What two readers of one PDF agree on: hyphens, spaces and ligatures are theirs."""
    return re.sub(r"[\W_]+", "", text.casefold())


def ask(url: str, question: str) -> dict[str, Any]:
    body = {"model": "mixed", "max_tokens": 60, "messages": [{"role": "user", "content": question}]}
    reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=300)
    reply.raise_for_status()
    found: dict[str, Any] = reply.json()
    return found


def picture(url: str, path: Path) -> None:
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.fill("#question", ASKED[0])
        page.keyboard.press("Enter")
        expect(page.locator(".turn").last.locator(".facts-line")).to_be_visible(timeout=120_000)
        page.locator("button.cite").first.click()
        expect(page.locator(".seal.good")).to_be_visible()
        page.screenshot(path=path)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where all of it is kept; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.folder or Path(temporary)).resolve()
        documents = root / "documents"
        if not documents.exists():
            make_folder(documents)
        started = time.perf_counter()
        _genwerk(root, "init", "mixed", "--docs", "documents", "--force")
        _genwerk(root, "run", "mixed.yaml")
        say(f"init and run: {time.perf_counter() - started:.0f} s")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with subprocess.Popen(
            [sys.executable, "-m", "genwerk", "serve", "mixed", "--port", str(port)], cwd=root
        ) as server:
            try:
                _report(f"http://127.0.0.1:{port}", root)
            finally:
                server.terminate()


def _report(url: str, root: Path) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=STARTING)) as waiting:
        waiting.get(f"{url}/health").raise_for_status()
    answered, cited, found = 0, 0, []
    with track("asking", total=len(ASKED), unit="questions") as bar:
        for question in ASKED:
            citations = ask(url, question)["genwerk"]["citations"]
            answered, cited = answered + bool(citations), cited + len(citations)
            found += cited_pages(citations, root / "documents")
            bar.advance()
    right = sum(one.right for one in found)
    print(f"{len(ASKED)} questions: {answered} answered, {cited} citations")
    print(f"{len(found)} name a page of a PDF, {right} the page on which pdftotext finds the quote")
    for one in found:
        if not one.right:
            print(f"  not there: {one.source}, {one.place}")
    picture(url, root / "mixed.png")
    say(f"the page with its source: {root / 'mixed.png'}")


def _genwerk(root: Path, *arguments: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "genwerk", *arguments], cwd=root, check=True)


if __name__ == "__main__":
    main()
