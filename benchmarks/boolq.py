"""BoolQ as known-item retrieval: which of 12,271 passages answers each of 2,000 held-out questions.

Indexes the passages, fits the fusion on 1,000 development questions, trains a reranker on the others (on their own
passages, with negatives that the search found), decides on the development questions whether it is switched on, and
runs every arm on the held-out ones. Writes TREC runs and qrels; `ir-measures` scores them. All steps are kept in the
cache directory and found by the next run.

    python benchmarks/boolq.py                        # everything, about an hour and a half on two cores
    python benchmarks/boolq.py --minutes 20           # the reranker trains for 20 minutes
    python benchmarks/boolq.py --adapt 20             # also an embedder adapted for 20 minutes, and an index with it
    python benchmarks/boolq.py --quick                # 1,500 passages, 200 questions, in about five minutes
    python benchmarks/boolq.py --no-reranker          # the three arms alone
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import ir_measures
import torch
from ir_measures import RR, R, nDCG

from genwerk.alignment.adapt_embedder import AdaptConfig
from genwerk.alignment.train_reranker import RerankerConfig
from genwerk.core.artifact import Artifact, Source
from genwerk.core.cache import cache_directory
from genwerk.core.progress import track
from genwerk.core.types import ARMS, Retrieved
from genwerk.core.workspace import Workspace
from genwerk.data.boolq import BoolqConfig, load_questions
from genwerk.data.questions import Question
from genwerk.metrics.bootstrap import Interval, interval, paired_difference
from genwerk.recipe import fetch_source
from genwerk.recipes.reranking import Collection, boolq_collection, decide, mine
from genwerk.retrieval.findings import AS_FITTED, Options
from genwerk.retrieval.fusion import load_fusion
from genwerk.retrieval.mining import MineConfig
from genwerk.retrieval.reranked import FitRerankingConfig, RerankedSearch, load_reranking
from genwerk.retrieval.reranking import Reranker
from genwerk.retrieval.search import Searcher

MEASURES = {"nDCG@10": nDCG @ 10, "recall@10": R @ 10, "MRR": RR}
DEPTH = 100
Search = Callable[[str], Sequence[Retrieved]]
Values = Mapping[str, Mapping[str, Sequence[float]]]  # arm → measure → one value a question


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="training of the reranker")
    parser.add_argument("--adapt", type=float, default=0.0, metavar="MINUTES", help="of an embedder; 0: none")
    parser.add_argument("--reranker", type=Path, help="a cross-encoder's directory, instead of training one")
    parser.add_argument("--no-reranker", action="store_true", help="the three arms alone")
    parser.add_argument("--lists", type=int, default=6000, help="training questions that are mined; 12,942 are there")
    parser.add_argument("--negatives", type=int, default=7, help="in a list of the reranker's training")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto", help="of training")
    parser.add_argument("--questions", type=int, default=0, help="of those held out, the first so many; 0: all")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder of the runs; the cache directory when left out")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    root = cache_directory() / "benchmarks" / "boolq"
    workspace, out = Workspace(root / "workspace"), chosen.out or root / ("quick" if chosen.quick else "runs")
    out.mkdir(parents=True, exist_ok=True)
    boolq = BoolqConfig(passages=1500, heldout=200, dev=200) if chosen.quick else BoolqConfig()
    collection = boolq_collection(workspace, boolq, fetch_source("minilm"))
    questions = [one for one in load_questions(collection.dataset.path) if one.split == "heldout"]
    questions = questions[: chosen.questions or None]
    searches = arms(collection)
    told = [load_fusion(collection.fit.path).reason]
    trains = not chosen.no_reranker and not chosen.reranker
    if trains or chosen.adapt:
        lists = mine(workspace, collection, MineConfig(n_questions=chosen.lists))
    if not chosen.no_reranker:
        reranker = trained(workspace, lists, chosen) if trains else Source.of_folder("reranker", chosen.reranker)
        name, search, reason = reranked(workspace, collection, reranker)
        searches[name], told = search, [*told, reason]
    if chosen.adapt:
        adapting = AdaptConfig(minutes=chosen.adapt, precision=chosen.precision)
        adapted = workspace.step("genwerk.alignment.adapt_embedder:adapt_embedder", adapting, fetch_source("minilm"),
                                 lists, kind="embedder")  # fmt: skip
        other = boolq_collection(workspace, boolq, adapted)
        told.append(f"With the adapted embedder: {load_fusion(other.fit.path).reason}")
        searches |= {f"adapted {name}": search for name, search in arms(other).items() if name != "bm25"}
        if not chosen.no_reranker:
            name, search, reason = reranked(workspace, other, reranker)
            searches[f"adapted {name}"], told = search, [*told, f"With the adapted embedder: {reason}"]
    values = {name: scored(name, search, questions, out) for name, search in searches.items()}
    print(f"\n{len(questions)} held-out questions over {collection.dataset.metrics['documents']} passages\n")
    print(table(values))
    print("\n" + "\n".join(told) + f"\n\nruns and qrels: {out}")


def arms(collection: Collection) -> dict[str, Search]:
    """The three arms, the hybrid one at its fitted weight; and the latter in other orders."""
    searcher = searcher_of(collection)

    def search(arm: str, options: Options = AS_FITTED) -> Search:
        return lambda query: searcher.search(query, DEPTH, arm, options=options)

    orders = {"hybrid by ranks": Options(fusion="rrf"), "hybrid, MMR 0.7": Options(mmr=0.7)}
    return {arm: search(arm) for arm in ARMS} | {name: search("hybrid", options) for name, options in orders.items()}


def searcher_of(collection: Collection) -> Searcher:
    choice = load_fusion(collection.fit.path).choice
    return Searcher.open(collection.index.path, collection.embedder.path, choice)


def trained(workspace: Workspace, lists: Artifact, chosen: argparse.Namespace) -> Source | Artifact:
    """A reranker of its own."""
    time = {"steps": 20} if chosen.quick else {"minutes": chosen.minutes}
    config = RerankerConfig(negatives=chosen.negatives, precision=chosen.precision, **time)
    body = fetch_source("minilm")
    return workspace.step("genwerk.alignment.train_reranker:train_reranker", config, body, lists, kind="reranker")


def reranked(workspace: Workspace, collection: Collection, reranker: Source | Artifact) -> tuple[str, Search, str]:
    """Name, search and reason of the arm that reranks, measured also where the decision would leave it off."""
    decision = load_reranking(decide(workspace, collection, reranker, FitRerankingConfig()).path)
    searcher = searcher_of(collection)
    search = RerankedSearch(searcher, Reranker.load(reranker.path), replace(decision.choice, on=True))
    grid = ", ".join(f"{depth.k}: {depth.ndcg:.3f}" for depth in decision.depths)
    name = f"{decision.arm} + reranker"
    return name, lambda query: search.search(query, DEPTH), f"{decision.reason} (k {decision.k} of {grid})"


def scored(name: str, search: Search, questions: Sequence[Question], out: Path) -> dict[str, list[float]]:
    """Run one arm, write its TREC files, and let ir-measures say each question's values."""
    run, qrels = [], []
    with track(name, total=len(questions), unit="questions") as bar:
        for number, question in enumerate(questions):
            passages = list(dict.fromkeys(item.chunk.document_id for item in search(question.text)))
            run += [f"q{number} Q0 {one} {rank} {1 / rank:.8f} {name.replace(' ', '-')}"
                    for rank, one in enumerate(passages, 1)]  # fmt: skip
            qrels.append(f"q{number} 0 {question.document_id} 1")
            bar.advance()
    place = out / f"{name.replace(' + ', '-').replace(' ', '-')}.run"
    place.write_text("".join(line + "\n" for line in run), encoding="utf-8")
    (out / "qrels").write_text("".join(line + "\n" for line in qrels), encoding="utf-8")
    judged = list(ir_measures.read_trec_qrels(str(out / "qrels")))
    found: dict[str, dict[str, float]] = {measure: {} for measure in MEASURES}
    names = {str(measure): label for label, measure in MEASURES.items()}
    for metric in ir_measures.iter_calc(MEASURES.values(), judged, ir_measures.read_trec_run(str(place))):
        found[names[str(metric.measure)]][metric.query_id] = metric.value
    ids = [f"q{number}" for number in range(len(questions))]
    return {measure: [by.get(one, 0.0) for one in ids] for measure, by in found.items()}


def table(values: Values) -> str:
    """Markdown: each measure with its interval, and the paired difference in nDCG@10 to the best single arm."""
    best = max(("bm25", "dense"), key=lambda arm: sum(values[arm]["nDCG@10"]))
    heads = ["arm", *MEASURES, f"nDCG@10 beside {best}"]
    rows = [heads, ["---"] * len(heads)]
    for arm, found in values.items():
        beside = paired_difference(found["nDCG@10"], values[best]["nDCG@10"])
        last = "" if arm == best else f"{beside.mean:+.3f} ({beside.low:+.3f} to {beside.high:+.3f})"
        rows.append([arm, *(shown(interval(found[measure])) for measure in MEASURES), last])
    steps = [("hybrid", best), *((arm, "hybrid") for arm in values if arm.endswith("+ reranker")),
             ("adapted dense", "dense"), ("adapted hybrid", "hybrid")]  # fmt: skip
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    for one, other in steps:
        if one in values and other in values:
            gain = paired_difference(values[one]["nDCG@10"], values[other]["nDCG@10"])
            lines.append(f"\n{one} beside {other}: {gain.mean:+.4f} nDCG@10 ({gain.low:+.4f} to {gain.high:+.4f})")
    return "\n".join(lines)


def shown(found: Interval) -> str:
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    main()
