"""Searching a million chunks: milliseconds a question, bytes on disk and resident, changes; beside peers of each arm.

    python benchmarks/scale.py                          10,000, 100,000 and 1,000,000 chunks, and a plot
    python benchmarks/scale.py --chunks 10000           one size
    python benchmarks/scale.py --peers none             ours alone

Texts are made: 100 words each, drawn by how often they stand in the Python reference, with one rare word of their own.
Vectors are real ones of that reference, each repeated with noise. Questions are six content words of a chunk and a
vector near its own; times are of searching, the question's vector given. Every figure is of a fresh process.
Peers, alone in a process each: bm25s and tantivy for words, usearch (HNSW, i8) and LanceDB (flat, and IVF_PQ) for
meaning, the same texts and vectors; what cannot be imported is left out, and that is said.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from genwerk.core.assets import fetch
from genwerk.core.cache import cache_directory
from genwerk.core.progress import say, track
from genwerk.core.types import Chunk, Document
from genwerk.retrieval.building import IndexConfig, LiveIndex
from genwerk.retrieval.chunking import Limits, RecursiveChunker
from genwerk.retrieval.derived import derive
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.index import Index
from genwerk.retrieval.search import Searcher
from genwerk.retrieval.store import FILE_NAME, FileStore, write_store
from genwerk.retrieval.terms import forms_of
from genwerk.retrieval.words import STOP_WORDS, words_of

SIZES = (10_000, 100_000, 1_000_000)
WORDS, QUESTIONS, CHUNKS_A_DOCUMENT, NOISE, DEPTH = 100, 200, 10, 0.03, 100
BY_WORDS = ("bm25s", "tantivy")
PEERS = (*BY_WORDS, "usearch", "lancedb", "lancedb-ivf-pq")


class Collection:
    """Made texts, vectors and questions, the same for the same size."""

    def __init__(self, size: int) -> None:
        self.size = size
        counts = Counter(word.folded for text in topics.values() for word in words_of(text))
        self.names = np.array(sorted(counts), dtype=object)
        chances = np.array([counts[name] for name in self.names], dtype=np.float64)
        self.chances = chances / chances.sum()
        self.base = base_vectors()

    def blocks(self, rows: int = 10_000) -> Iterator[tuple[list[str], np.ndarray]]:
        """Texts and vectors (n, D) float32, in order. Other `rows` draw others."""
        for start in range(0, self.size, rows):
            draw = np.random.default_rng(start)
            count = min(rows, self.size - start)
            drawn = self.names[draw.choice(len(self.names), size=(count, WORDS - 1), p=self.chances)]
            texts = [f"{' '.join(row)} key{start + place}" for place, row in enumerate(drawn)]
            vectors = self.base[(start + np.arange(count)) % len(self.base)]
            yield texts, unit(vectors + NOISE * draw.normal(size=vectors.shape).astype(np.float32))

    def questions(self) -> list[tuple[str, np.ndarray]]:
        """Six content words of a chunk, and a vector near its own."""
        draw, found = np.random.default_rng(7), []
        content = np.array([name not in STOP_WORDS and len(name) > 1 for name in self.names])
        chances = self.chances * content
        for place in draw.integers(0, self.size, size=QUESTIONS):
            words = draw.choice(self.names, size=6, replace=False, p=chances / chances.sum())
            vector = self.base[place % len(self.base)] + NOISE * draw.normal(size=self.base.shape[1])
            found.append((" ".join(words), unit(vector[None].astype(np.float32))[0]))
        return found


def grouped(items: Iterator[np.ndarray], count: int) -> Iterator[list[np.ndarray]]:
    """Lists of `count`, the last one shorter."""
    while group := list(islice(items, count)):
        yield group


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def base_vectors() -> np.ndarray:
    """Vectors of the Python reference's chunks, embedded once."""
    kept = cache_directory() / "benchmarks" / "scale" / "reference.npy"
    if not kept.exists():
        embedder = Embedder.load(fetch("minilm"))
        chunker = RecursiveChunker(
            Limits(max_chars=600, count_tokens=embedder.count_tokens, max_tokens=embedder.window)
        )
        texts = [text[c.start : c.end] for text in topics.values() for c in chunker.chunk(Document.create("x", text))]
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, embedder.embed(texts))
    return np.asarray(np.load(kept))


class Told:
    """An embedder that gives the vectors it is told."""

    dimension, window, name = 384, 256, "told"

    def __init__(self, vectors: dict[str, np.ndarray], identity: str = "told") -> None:
        self.vectors, self.identity = vectors, identity

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.vectors[text] for text in texts])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def tokenize(self, texts: Sequence[str]) -> list[str]:
        return list(texts)

    def embed_batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], np.ndarray]]:
        if texts:
            yield list(range(len(texts))), np.ones((len(texts), 384), dtype=np.float32) / 384**0.5


def folder_of(size: int) -> Path:
    return cache_directory() / "benchmarks" / "scale" / str(size)


def build(size: int) -> dict[str, float]:
    """Write the index of a size; seconds of each part, texts and vectors given."""
    folder, collection = folder_of(size), Collection(size)
    folder.mkdir(parents=True, exist_ok=True)
    documents, chunks, vectors = [], [], []
    with track("making texts", total=size, unit="chunks") as bar:
        for texts, some in collection.blocks():
            vectors.append(some.astype(np.float16))
            for start in range(0, len(texts), CHUNKS_A_DOCUMENT):
                own = texts[start : start + CHUNKS_A_DOCUMENT]
                document = Document.create(f"made/{len(documents):06d}.txt", "\n".join(own))
                ends = np.cumsum([len(text) + 1 for text in own])
                documents.append(document)
                chunks += [Chunk(document.id, int(end) - len(text) - 1, int(end) - 1)
                           for end, text in zip(ends, own, strict=True)]  # fmt: skip
            bar.advance(len(texts))
    (folder / FILE_NAME).unlink(missing_ok=True)
    started = time.perf_counter()
    meta = {"embedder": "told", "embedder_name": "told", "chunking": f"recursive {IndexConfig().canonical()}"}
    write_store(folder / FILE_NAME, documents, chunks, np.concatenate(vectors), meta, living=True)
    written = time.perf_counter()
    derive(FileStore(folder))
    return {"write_s": written - started, "derive_s": time.perf_counter() - written}


def measure(size: int) -> dict[str, float]:
    """Ours, in a process that does nothing else: opening, questions by arm, one document more and less."""
    folder, questions = folder_of(size), Collection(size).questions()
    before = resident()
    started = time.perf_counter()
    index = Index.open(folder)
    opened = time.perf_counter() - started
    told = Told(dict(questions))
    searcher = Searcher(index, told)
    for query, _ in questions[:10]:
        searcher.candidates(query)
    found = {"open_s": opened, **spread("hybrid", times(lambda one: searcher.look(one[0], 10), questions))}
    words, scan = index.view.words(), index.view.scan
    terms = {query: [term for word in query.split() for term in forms_of(word, words.languages)]
             for query, _ in questions}  # fmt: skip
    found |= spread("words", times(lambda one: words.top(terms[one[0]], DEPTH), questions))
    found |= spread("meaning", times(lambda one: scan.top(one[1], DEPTH), questions))
    found["resident_mb"] = (resident() - before) / 1e6
    live = LiveIndex(folder, told, IndexConfig())  # type: ignore[arg-type]
    adds, removes, follows = [], [], []
    for number in range(12):
        document = Document.create(f"new-{number}.txt", f"A new document about pumps, number {number}. " * 20)
        adds.append(took(partial(live.sync, [document])))
        follows.append(took(index.refresh))
        removes.append(took(partial(live.remove, [document.id])))
        follows.append(took(index.refresh))
    found |= {"add_ms": 1e3 * float(np.median(adds)), "add_max_ms": 1e3 * max(adds)}
    found |= {"remove_ms": 1e3 * float(np.median(removes)), "remove_max_ms": 1e3 * max(removes)}
    found["refresh_ms"] = 1e3 * float(np.median(follows))
    sizes = {
        "truth": [folder / FILE_NAME],
        "derived": [file for one in folder.glob("derived-*") for file in one.iterdir()],
    }
    return found | {f"{name}_mb": sum(file.stat().st_size for file in files) / 1e6 for name, files in sizes.items()}


def took(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def times(ask: Callable[[tuple[str, np.ndarray]], object], questions: Sequence[tuple[str, np.ndarray]]) -> list[float]:
    seconds = []
    for question in questions:
        started = time.perf_counter()
        ask(question)
        seconds.append(time.perf_counter() - started)
    return seconds


def spread(name: str, seconds: Sequence[float]) -> dict[str, float]:
    return {
        f"{name}_p50_ms": 1e3 * float(np.median(seconds)),
        f"{name}_p95_ms": 1e3 * float(np.quantile(seconds, 0.95)),
    }


def peer(name: str, size: int) -> dict[str, float]:
    """One peer on the same texts or vectors: building, questions, and how many of the exact 10 nearest it finds."""
    collection = Collection(size)
    questions = collection.questions()
    ask, seconds = {"bm25s": ask_bm25s, "tantivy": ask_tantivy, "usearch": ask_usearch,
                    "lancedb": ask_lancedb, "lancedb-ivf-pq": ask_lancedb_ivf}[name](collection)  # fmt: skip
    for question in questions[:10]:
        ask(question)
    found = {"build_s": seconds, **spread("question", times(ask, questions)), "resident_mb": resident() / 1e6}
    if name not in BY_WORDS:
        exact = nearest(collection, questions)
        hits = [len(set(list(ask(one))[:10]) & set(best)) for one, best in zip(questions, exact, strict=True)]
        found["recall_10"] = float(np.mean(hits)) / 10
    return found


def nearest(collection: Collection, questions: Sequence[tuple[str, np.ndarray]]) -> list[list[int]]:
    """The 10 nearest of each question, by looking at all in float32."""
    asked, best, start = np.stack([vector for _, vector in questions]), [], 0
    for _, vectors in collection.blocks():
        scores = asked @ vectors.T
        top = np.argpartition(-scores, 9, axis=1)[:, :10]
        best.append((np.take_along_axis(scores, top, 1), top + start))
        start += len(vectors)
    scores, rows = (np.concatenate([part[place] for part in best], 1) for place in (0, 1))
    return np.take_along_axis(rows, np.argsort(-scores, axis=1)[:, :10], 1).tolist()


def ask_bm25s(collection: Collection) -> tuple[Callable[..., object], float]:
    import bm25s

    texts = [text.split() for some, _ in collection.blocks() for text in some]
    started = time.perf_counter()
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index(texts, show_progress=False)
    seconds = time.perf_counter() - started
    return lambda one: index.retrieve([one[0].split()], k=DEPTH, show_progress=False, n_threads=1), seconds


def ask_tantivy(collection: Collection) -> tuple[Callable[..., object], float]:
    import tantivy

    schema = tantivy.SchemaBuilder().add_text_field("text", stored=False, tokenizer_name="whitespace").build()
    index = tantivy.Index(schema)
    started = time.perf_counter()
    writer = index.writer(512_000_000, 2)
    for some, _ in collection.blocks():
        for text in some:
            writer.add_document(tantivy.Document(text=text))
    writer.commit()
    writer.wait_merging_threads()
    seconds = time.perf_counter() - started
    index.reload()
    searcher = index.searcher()

    def ask(one: tuple[str, np.ndarray]) -> object:
        parts = [(tantivy.Occur.Should, tantivy.Query.term_query(schema, "text", word)) for word in one[0].split()]
        return searcher.search(tantivy.Query.boolean_query(parts), DEPTH).hits

    return ask, seconds


def ask_usearch(collection: Collection) -> tuple[Callable[..., object], float]:
    from usearch.index import Index as Graph

    graph, first = Graph(ndim=384, metric="cos", dtype="i8"), 0
    started = time.perf_counter()
    with track("building the graph", total=collection.size, unit="vectors") as bar:
        for _, vectors in collection.blocks():
            graph.add(np.arange(first, first + len(vectors)), vectors)
            first += len(vectors)
            bar.advance(len(vectors))
    seconds = time.perf_counter() - started
    return lambda one: graph.search(one[1], DEPTH).keys.tolist(), seconds


def ask_lancedb(collection: Collection, indexed: bool = False) -> tuple[Callable[..., object], float]:
    import shutil

    import lancedb
    import pyarrow

    folder = cache_directory() / "benchmarks" / "scale" / f"lancedb-{collection.size}"
    shutil.rmtree(folder, ignore_errors=True)
    table, first = None, 0
    started = time.perf_counter()
    for blocks in grouped((vectors for _, vectors in collection.blocks()), 10):  # fewer fragments
        vectors = np.concatenate(blocks)
        flat = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.ravel()), vectors.shape[1])
        numbers = pyarrow.array(np.arange(first, first + len(vectors)))
        rows = pyarrow.table({"number": numbers, "vector": flat})
        if table is None:
            table = lancedb.connect(folder).create_table("chunks", rows)
        else:
            table.add(rows)
        first += len(vectors)
    assert table is not None
    if indexed:
        table.create_index(metric="cosine", index_type="IVF_PQ")
    seconds = time.perf_counter() - started

    def ask(one: tuple[str, np.ndarray]) -> object:
        asked = table.search(one[1]).distance_type("cosine").select(["number"]).limit(DEPTH)
        return asked.to_arrow()["number"].to_pylist()

    return ask, seconds


def ask_lancedb_ivf(collection: Collection) -> tuple[Callable[..., object], float]:
    return ask_lancedb(collection, indexed=True)


def apart(*arguments: str) -> dict[str, float]:
    """Run a part of this script in a process of its own; what it measured."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        say(f"left out: {' '.join(arguments)} stopped with exit status {done.returncode}", style="yellow")
        return {}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def draw(found: dict[int, dict[str, float]], path: Path) -> None:
    """Growth: milliseconds a question against chunks."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.ticker
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.8), layout="constrained")
    sizes = sorted(found)
    for name, colour in (("hybrid", "#1f4e79"), ("meaning", "#c0504d"), ("words", "#6a8f3c")):
        median, high = ([found[size][f"{name}_{which}_ms"] for size in sizes] for which in ("p50", "p95"))
        axes.plot(sizes, median, "o-", color=colour)
        axes.fill_between(sizes, median, high, color=colour, alpha=0.15, lw=0)
        axes.annotate(f" {name}", (sizes[-1], median[-1]), color=colour, va="center")
    axes.set(xscale="log", yscale="log", xlabel="chunks", ylabel="ms a question, median to 95th percentile")
    axes.axhline(50, color="grey", lw=0.8, ls=":")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_xlim(right=3.2 * sizes[-1])
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=SIZES)
    parser.add_argument("--peers", nargs="+", default=PEERS, choices=(*PEERS, "none"))
    parser.add_argument("--plot", type=Path, help="where the growth is drawn, an SVG file")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, size = options.part[0], int(options.part[1])
        made = {"build": build, "measure": measure}.get(name)
        sys.stdout.write(json.dumps(made(size) if made else peer(name, size)) + "\n")
        return
    base_vectors()
    found: dict[int, dict[str, float]] = {}
    for size in options.chunks:
        found[size] = apart("--part", "build", str(size)) | apart("--part", "measure", str(size))
        for name, value in found[size].items():
            print(f"{size:>9,} chunks  {name:16} {value:12.3f}")
        for name in options.peers if options.peers != ["none"] else ():
            arm = "words" if name in BY_WORDS else "meaning"
            for what, value in apart("--part", name, str(size)).items():
                own = found[size][what.replace("question", arm)] if what.startswith("question") else 0.0
                beside = f"  {value / own:6.2f} times ours, {arm}" if own else ""
                print(f"{size:>9,} chunks  {name:16} {what:16} {value:12.3f}{beside}", flush=True)
    if options.plot and len(found) > 1:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
