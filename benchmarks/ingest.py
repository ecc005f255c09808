"""From files to an index: our ingest beside LlamaIndex's and Haystack's pipelines, from parsing to the last vector.

The files are pages of the Python documentation (Debian) as HTML, some of them made into PDF and DOCX. All use
all-MiniLM-L6-v2 from the same files, chunks of the same longest length in characters, and the same threads; ours also
in int16. Ours writes an index to disk, theirs fill a store in memory. Each run is a process of its own; loading the
model and imports are not counted. Peers are installed once into an environment in the cache folder.

    python benchmarks/ingest.py                      # 80 pages, of which 16 as PDF and 16 as DOCX, three rounds
    python benchmarks/ingest.py --pages 5 --rounds 1
    python benchmarks/ingest.py --peers none --profile     # where our own time goes
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent / "inference"))

from peers import Peer, install

from genwerk.core.assets import KNOWN, fetch
from genwerk.core.cache import cache_directory
from genwerk.core.progress import say, track
from genwerk.data.html import html_to_markdown
from genwerk.data.prepare import PrepareConfig, read_documents
from genwerk.retrieval.building import IndexConfig, LiveIndex
from genwerk.retrieval.embedding import Embedder, Precision

PAGES = "deb:python3.11-doc=3.11.2-6+deb12u9!/usr/share/doc/python3.11/html/"
FOLDERS = ("library", "howto", "tutorial", "reference", "c-api", "faq")
CHARS = 700
_SHARED = ("torch==2.13.0", "sentence-transformers==6.2.0", "transformers==5.23.0", "pypdf")
PEERS = {
    "llamaindex": Peer("LlamaIndex", "llamaindex.py", (
        "llama-index-core==0.14.25", "llama-index-readers-file==0.7.0", "llama-index-embeddings-huggingface==0.8.0",
        "docx2txt", *_SHARED,
    ), {}),
    "haystack": Peer("Haystack", "haystack_pipeline.py", (
        "haystack-ai==3.3.0", "sentence-transformers-haystack==2.0.0", "trafilatura", "lxml-html-clean",
        "python-docx", *_SHARED,
    ), {}),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", nargs="+", choices=[*PEERS, "none"], default=list(PEERS))
    parser.add_argument("--profile", action="store_true", help="print where ours spends its time, and stop")
    parser.add_argument("--ours", nargs=2, metavar=("FOLDER", "PRECISION"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.ours:
        folder, precision = chosen.ours
        print(json.dumps(ingest(Path(folder), precision)))
        return
    files = made_files(chosen.pages)
    if chosen.profile:
        with cProfile.Profile() as profile:
            ingest(files, "int16")
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
        return
    ours = [sys.executable, __file__, "--threads", str(chosen.threads), "--ours", str(files)]
    runs = {f"genwerk {precision}": [*ours, precision] for precision in ("float32", "int16")}
    model = fetch(KNOWN["minilm"].spec, KNOWN["minilm"].sha256)
    for name in chosen.peers:
        if name != "none":
            script = Path(__file__).parent / "ingest_peers" / PEERS[name].worker
            given = [str(files), str(model), str(CHARS), str(chosen.threads)]
            runs[PEERS[name].title] = [install(name, PEERS[name]), str(script), *given]
    show(measured(runs, chosen.rounds, chosen.threads), files, chosen.threads)


def ingest(folder: Path, precision: Precision) -> dict[str, float]:
    """Seconds and chunks of ours, the model loaded before."""
    embedder = Embedder.load(fetch("minilm"), precision)
    embedder.embed(["warm"])
    with tempfile.TemporaryDirectory() as place:
        start = time.perf_counter()
        live = LiveIndex(Path(place), embedder, IndexConfig(max_chars=CHARS))
        change = live.sync(read_documents(PrepareConfig(sources=(str(folder),))), prune=True)
        return {"seconds": time.perf_counter() - start, "chunks": change.embedded + change.reused}


def measured(runs: Mapping[str, Sequence[str]], rounds: int, threads: int) -> dict[str, list[dict[str, float]]]:
    """Round by round; who goes first changes."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    order = list(runs)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    environment |= {"HF_HUB_OFFLINE": "1", "HAYSTACK_TELEMETRY_ENABLED": "False"}
    with track("ingesting", total=rounds * len(runs), unit="runs") as bar:
        for _ in range(rounds):
            for name in order:
                done = subprocess.run(runs[name], env=environment, capture_output=True, text=True)
                if done.returncode:
                    say(f"{name} failed: {done.stderr.strip()[-1500:]}", style="red")
                else:
                    found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
                bar.advance()
            order = [*order[1:], order[0]]
    return {name: values for name, values in found.items() if values}


def show(found: Mapping[str, Sequence[Mapping[str, float]]], folder: Path, threads: int) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(f"{len(files)} files of {megabytes:.1f} MB, chunks of at most {CHARS} characters, {threads} threads\n")
    for name, runs in found.items():
        seconds = [run["seconds"] for run in runs]
        rate = spread([len(files) / one for one in seconds], ".1f")
        line = f"{name:16} {rate} documents/s, {megabytes / statistics.median(seconds):.2f} MB/s"
        print(f"{line}, {runs[0]['chunks']:.0f} chunks")
    for ours in [name for name in found if name.startswith("genwerk")]:
        for theirs in [name for name in found if not name.startswith("genwerk")]:
            pairs = zip(found[ours], found[theirs], strict=False)
            print(f"{ours} beside {theirs}: {spread([b['seconds'] / a['seconds'] for a, b in pairs], '.2f')} times")


def spread(values: Sequence[float], form: str) -> str:
    return " ".join((format(statistics.median(values), form), f"({min(values):{form}} to {max(values):{form}})"))


def made_files(pages: int) -> Path:
    """A folder with so many pages, every fifth as PDF and every fifth as DOCX, made once."""
    folder = cache_directory() / "benchmarks" / "ingest" / f"{pages}-pages"
    if folder.exists():
        return folder
    source = fetch(PAGES)
    found = sorted(path for name in FOLDERS for path in (source / name).glob("*.html"))
    chosen = found[:: max(1, len(found) // pages)][:pages]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
        track("making files", total=pages, unit="files") as bar,
    ):
        made = Path(scratch) / "files"
        made.mkdir()
        for number, path in enumerate(chosen):
            name = made / f"{path.parent.name}-{path.stem}"
            text = path.read_text(encoding="utf-8")
            write = (as_pdf, as_docx, as_html, as_html, as_html)[number % 5]
            write(name, text)
            bar.advance()
        made.rename(folder)
    return folder


def as_html(name: Path, page: str) -> None:
    name.with_suffix(".html").write_text(page, encoding="utf-8")


def as_pdf(name: Path, page: str) -> None:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=11)
    for paragraph in paragraphs(page):
        pdf.multi_cell(0, 5, paragraph.encode("latin-1", "replace").decode("latin-1"), new_x="LMARGIN", new_y="NEXT")
        pdf.ln(3)
    pdf.output(str(name.with_suffix(".pdf")))


def as_docx(name: Path, page: str) -> None:
    from docx import Document

    document = Document()
    for paragraph in paragraphs(page):
        heading = paragraph.startswith("#")
        document.add_paragraph(paragraph.lstrip("# "), style="Heading 2" if heading else None)
    document.save(str(name.with_suffix(".docx")))


def paragraphs(page: str) -> list[str]:
    return [part for part in html_to_markdown(page).text.split("\n\n") if part.strip()]


if __name__ == "__main__":
    main()
