"""Chunkers beside each other, with and without headers: the same documents, questions and embedder, one index each.

Collections: the Python documentation (language reference and docstrings, three tenths of it held out) with known-item
questions about titles and about sentences of the held-out documents; BoolQ's passages with its held-out questions.

A chunker is judged by the passages that are read, not by the chunks that are searched. A passage counts as found when
passage and answer share at least half of the shorter of the two, in characters: so a sentence out of a long answer
counts, a passage around a short answer counts, and one that only touches it does not. All passages have at most 700
characters; how many characters the first ten have together stands in the table, for who shows more finds more.

nDCG@10, recall@10 and the reciprocal rank are of the first ten passages, with 95 % bootstrap intervals; beside them
the paired difference in nDCG@10 to recursive chunks without headers. Hybrid search weighs words and meaning equally.
Indexes are kept in the cache directory and found by the next run; their seconds are those of the run that made them.

    python benchmarks/chunkers.py                        # the Python documentation
    python benchmarks/chunkers.py --collection boolq
    python benchmarks/chunkers.py --quick                # thirty pages, sixty questions
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from genwerk.core.artifact import Artifact
from genwerk.core.cache import cache_directory
from genwerk.core.progress import track
from genwerk.core.types import ARMS, Chunk, Retrieved
from genwerk.core.workspace import Workspace
from genwerk.data.boolq import BoolqConfig, load_questions
from genwerk.data.documents import load_documents
from genwerk.data.prepare import PrepareConfig
from genwerk.data.python_docs import read_topics
from genwerk.data.questions import Question, known_item_questions
from genwerk.data.sources import source_fingerprint
from genwerk.metrics.bootstrap import Interval, interval, paired_difference
from genwerk.metrics.ranking import first_gain_only, hit_at_k, ndcg_at_k, reciprocal_rank
from genwerk.recipe import fetch_source
from genwerk.retrieval.index_config import CHUNKERS, IndexConfig
from genwerk.retrieval.reading import Reader
from genwerk.retrieval.search import Searcher

K, DEPTH, WEIGHT = 10, 100, 0.5


@dataclass(frozen=True)
class Scores:
    """One value a question."""

    ndcg: list[float]
    recall: list[float]
    reciprocal: list[float]
    characters: list[float]


@dataclass(frozen=True)
class Row:
    """One index and what both arms find in it."""

    name: str
    chunks: int
    seconds: float
    arms: dict[str, Scores]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", choices=["python", "boolq"], default="python")
    parser.add_argument("--chunkers", nargs="+", choices=sorted(CHUNKERS), default=list(CHUNKERS))
    parser.add_argument("--questions", type=int, default=0, help="the first so many of those held out; 0: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    workspace = Workspace(cache_directory() / "benchmarks" / "chunkers" / "workspace")
    dataset = collection(workspace, chosen.collection, quick=chosen.quick)
    asked = heldout(dataset)[: chosen.questions or (60 if chosen.quick else None)]
    rows = [row(workspace, dataset, asked, name, headers=headers)
            for name in chosen.chunkers for headers in (False, True)]  # fmt: skip
    print(f"\n{len(asked)} held-out questions over {dataset.metrics['documents']} documents")
    for arm in ARMS:
        print(f"\n{arm}\n\n{table(rows, arm)}")


def collection(workspace: Workspace, name: str, *, quick: bool) -> Artifact:
    """The documents, split into train and held out."""
    if name == "boolq":
        config = BoolqConfig(passages=300, heldout=60, dev=20) if quick else BoolqConfig()
        return workspace.step("genwerk.data.boolq:prepare_boolq", config, fetch_source("boolq"), kind="dataset")
    sources = (str(thirty_pages(workspace.root.parent / "quick")),) if quick else ("python:topics", "python:docstrings")
    preparing = PrepareConfig(sources=sources, holdout=0.3)
    return workspace.step("genwerk.data.prepare:prepare", preparing, source_fingerprint(sources), kind="dataset")


def thirty_pages(folder: Path) -> Path:
    """Thirty pages of the language reference as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in list(read_topics())[:30]:
        name = page.source.rsplit("/", 1)[-1]
        (folder / f"{name}.rst").write_text(page.document.text, encoding="utf-8")
    return folder


def heldout(dataset: Artifact) -> list[Question]:
    """The dataset's own held-out questions, or known items of its held-out documents."""
    own = [one for one in load_questions(dataset.path) if one.split == "heldout"]
    return own or known_item_questions(load_documents(dataset.path), seed=0, split="heldout")


def row(workspace: Workspace, dataset: Artifact, asked: Sequence[Question], name: str, *, headers: bool) -> Row:
    """Make or find one index, and ask it everything."""
    config, minilm = IndexConfig.parse({"chunker": name, "headers": headers}), fetch_source("minilm")
    made = workspace.step("genwerk.retrieval.building:build_index", config, dataset, minilm, kind="index")
    searcher = Searcher.open(made.path, minilm.path)
    reader = Reader(searcher.index)
    arms = {arm: Scores([], [], [], []) for arm in ARMS}
    label = f"{name} + headers" if headers else name
    with track(label, total=len(asked), unit="questions") as bar:
        for question in asked:
            candidates = searcher.candidates(question.text)
            for arm, scores in arms.items():
                found = [Retrieved(chunk, score, arm) for chunk, score in candidates.ranked(arm, WEIGHT, DEPTH)]
                take(scores, [item.chunk for item in reader.read(found)[:K]], question)
            bar.advance()
    searcher.close()
    return Row(label, int(made.metrics["chunks"]), float(made.metrics["seconds"]), arms)


def take(scores: Scores, passages: Sequence[Chunk], question: Question) -> None:
    """Add what the first ten passages are worth to one question."""
    gains = [float(answers(passage, question)) for passage in passages]
    scores.ndcg.append(ndcg_at_k(first_gain_only(gains), K, ideal=[1.0]))
    scores.recall.append(hit_at_k(gains, K))
    scores.reciprocal.append(reciprocal_rank(gains))
    scores.characters.append(float(sum(passage.end - passage.start for passage in passages)))


def answers(passage: Chunk, question: Question) -> bool:
    """Whether passage and answer share at least half of the shorter of the two."""
    shared = min(passage.end, question.end) - max(passage.start, question.start)
    shorter = min(passage.end - passage.start, question.end - question.start)
    return passage.document_id == question.document_id and 2 * shared >= shorter


def table(rows: Sequence[Row], arm: str) -> str:
    """Markdown: one line an index."""
    heads = ["chunker", "nDCG@10", "recall@10", "MRR@10", f"nDCG@10 beside {rows[0].name}", "characters in ten",
             "chunks", "seconds to build"]  # fmt: skip
    lines = [heads, ["---"] * len(heads)]
    for one in rows:
        scores, first = one.arms[arm], rows[0].arms[arm]
        beside = paired_difference(scores.ndcg, first.ndcg)
        lines.append([
            one.name, *(shown(interval(values)) for values in (scores.ndcg, scores.recall, scores.reciprocal)),
            "" if one is rows[0] else f"{beside.mean:+.3f} ({beside.low:+.3f} to {beside.high:+.3f})",
            f"{interval(scores.characters).mean:,.0f}", f"{one.chunks:,}", f"{one.seconds:.1f}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(found: Interval) -> str:
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    main()
