"""Indexing and searching: how long 10,000 chunks take, how much of it is embedding, how long a hybrid query takes.

The documents are the Python language reference, the standard library's docstrings, and its source where more is wanted.
Query times include embedding the query; each query is a question made from the documents.

    python benchmarks/index.py                  # 10,000 chunks
    python benchmarks/index.py --chunks 200     # in seconds
"""

from __future__ import annotations

import argparse
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from types import SimpleNamespace

import numpy as np
import torch

from genwerk.core.assets import KNOWN, fetch
from genwerk.core.types import Document
from genwerk.data.documents import write_documents
from genwerk.data.questions import known_item_questions
from genwerk.retrieval.building import IndexConfig, build_index
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.index import Index
from genwerk.retrieval.search import FusionChoice, Searcher


def documents() -> Iterator[Document]:
    for name, text in sorted(topics.items()):
        yield Document.create(f"topics/{name}.rst", text, metadata={"split": "train", "language": "en", "title": name})
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.strip():
            yield Document.create(path.name, text, metadata={"split": "train", "language": "en"})


def enough(chunks: int, embedder: Embedder) -> tuple[list[Document], int]:
    """Documents that make about `chunks` chunks; the last one is cut to fit."""
    chunker = IndexConfig().chunker_for(embedder)
    chosen: list[Document] = []
    total = 0
    for document in documents():
        found = chunker.chunk(document)
        if total + len(found) > chunks:
            cut = found[chunks - total - 1].end
            document = Document.create(document.source, document.text[:cut], metadata=document.metadata)
            found = chunker.chunk(document)
        chosen.append(document)
        total += len(found)
        if total >= chunks:
            break
    return chosen, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model = fetch(KNOWN["minilm"].spec, KNOWN["minilm"].sha256)
    embedder = Embedder.load(model)
    collection, _ = enough(chosen.chunks, embedder)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("dataset", "out", "scratch"):
            (root / name).mkdir()
        write_documents(root / "dataset", collection)
        dataset = SimpleNamespace(path=root / "dataset", content_sha256="benchmark")
        step = SimpleNamespace(out=root / "out", scratch=root / "scratch")
        made = build_index(IndexConfig(), step, dataset, SimpleNamespace(path=model, kind="minilm"))  # type: ignore[arg-type]
        opening = time.perf_counter()
        index = Index.open(root / "out")
        opening = time.perf_counter() - opening
        searcher = Searcher(index, embedder, FusionChoice("hybrid", 0.5))
        questions = known_item_questions(collection[: len(topics)], seed=0, limit=chosen.queries)
        times = [timed(searcher, question.text) for question in questions]
    share = float(made["embedding_seconds"]) / float(made["seconds"])
    print(f"{made['chunks']} chunks of {made['documents']} documents, {chosen.threads} threads")
    print(f"indexing      {float(made['seconds']):.1f} s, of which embedding {share:.1%}")
    print(f"opening       {opening * 1000:.0f} ms")
    middle, high = statistics.median(times), float(np.quantile(times, 0.95))
    print(f"hybrid query  {middle:.1f} ms median, {high:.1f} ms p95, {max(times):.1f} ms at most, {len(times)} queries")


def timed(searcher: Searcher, query: str) -> float:
    """Milliseconds of one hybrid query, embedding included."""
    start = time.perf_counter()
    searcher.search(query, arm="hybrid")
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    main()
