"""Reading with one process beside one for each core, and small text files beside a plain loop.

    pages   what ingest.py reads: HTML, PDF and DOCX          pdf    the same pages, all as PDF
    html    the same pages, all as HTML, so often that they are enough to be sent
    text    2,000 files of .txt and .md with a paragraph each: they are read where they are asked for

Documents are read and cleaned as `genwerk index build` does. Who goes first changes from round to round. For text, the
loop opens each file with the same reader and does nothing else.

    python benchmarks/read_ahead.py                          # 80 pages, five rounds
    python benchmarks/read_ahead.py --pages 20 --rounds 1
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import torch
from ingest import as_pdf, made_files, paragraphs, spread

from genwerk.core.progress import track
from genwerk.data.language import identify
from genwerk.data.ledger import Ledger
from genwerk.data.prepare import PrepareConfig, read_documents
from genwerk.data.raw import ReadOptions
from genwerk.data.read_ahead import read_ahead
from genwerk.data.sources import list_files
from genwerk.data.still_file import read_file

SMALL_FILES = 2000
HTML_BYTES = 8_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    identify("The model is loaded before the clock starts.")
    pages = made_files(chosen.pages)
    with TemporaryDirectory() as scratch:
        folders = {"pages": pages, **made_folders(pages, Path(scratch))}
        with track("reading", total=len(folders) * chosen.rounds, unit="rounds") as bar:
            for name, folder in folders.items():
                runs = {f"{n} processes": whole(folder, n) for n in (1, chosen.processes)}
                if name == "text":
                    runs = {"a loop": plain(folder), "read ahead": ahead(folder, chosen.processes)}
                seconds = measured(runs, chosen.rounds, bar.advance)
                show(name, folder, seconds)


def made_folders(pages: Path, scratch: Path) -> dict[str, Path]:
    """The folders that are not kept: all as PDF, all as HTML, and small text files."""
    folders = {name: scratch / name for name in ("pdf", "html", "text")}
    for folder in folders.values():
        folder.mkdir()
    sources = sorted(pages.glob("*.html"))
    for source in sources:
        as_pdf(folders["pdf"] / source.stem, source.read_text(encoding="utf-8"))
    copies = 1 + HTML_BYTES // sum(source.stat().st_size for source in sources)
    for copy in range(copies):
        for source in sources:
            copyfile(source, folders["html"] / f"{copy}-{source.name}")
    texts = [text for source in sources for text in paragraphs(source.read_text(encoding="utf-8")) if len(text) > 40]
    for number in range(SMALL_FILES):
        name = folders["text"] / f"{number:04}.{'md' if number % 2 else 'txt'}"
        name.write_text(f"Number {number}. {texts[number % len(texts)]}", encoding="utf-8")
    return folders


def whole(folder: Path, n_processes: int) -> Callable[[], int]:
    def run() -> int:
        torch.set_num_threads(n_processes)  # as many processes are started
        return sum(1 for _ in read_documents(PrepareConfig(sources=(str(folder),))))

    return run


def plain(folder: Path) -> Callable[[], int]:
    return lambda: sum(len(read_file(file.path, ReadOptions()).found) for file in list_files((str(folder),), Ledger()))


def ahead(folder: Path, n_processes: int) -> Callable[[], int]:
    def run() -> int:
        files = list_files((str(folder),), Ledger())
        read = read_ahead(files, ReadOptions(), lambda file, progress: None, n_readers=n_processes)
        return sum(len(one.found) for _, one in read)

    return run


def measured(
    runs: dict[str, Callable[[], int]], rounds: int, advance: Callable[[], None]
) -> dict[str, list[tuple[float, int]]]:
    """Seconds and documents of each, round by round."""
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in runs}
    order = list(runs)
    for _ in range(rounds):
        for name in order:
            start = time.perf_counter()
            documents = runs[name]()
            found[name].append((time.perf_counter() - start, documents))
        order.reverse()
        advance()
    return found


def show(name: str, folder: Path, found: dict[str, list[tuple[float, int]]]) -> None:
    files = [path for path in folder.iterdir() if path.is_file()]
    print(f"{name}: {len(files):,} files of {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
    for run, pairs in found.items():
        print(f"  {run:12} {spread([seconds for seconds, _ in pairs], '.2f')} s, {pairs[0][1]:,} documents")
    (first, second) = ([seconds for seconds, _ in pairs] for pairs in found.values())
    print(f"  as fast: {spread([one / two for one, two in zip(first, second, strict=True)], '.2f')} times")


if __name__ == "__main__":
    main()
