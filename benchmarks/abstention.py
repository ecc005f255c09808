"""Abstention on BoolQ: silent when the passage that answers is taken out, and not when it is there.

12,271 passages of Wikipedia. The score and its threshold are fitted on 1,000 development questions; 2,000 held-out ones
are asked four times: with everything in place; without the passage that answers; without it and its copies (the
collection holds many a paragraph in two versions, and the other one answers as well); and without its whole article,
any paragraph of which may answer. Fitted on the third. Signals are kept in the cache directory: a second run takes
seconds.

    python benchmarks/abstention.py                        # all passages; embedding them takes most of the time
    python benchmarks/abstention.py --passages 3000        # the first 3,000, 500 questions to fit and 500 to measure on
    python benchmarks/abstention.py --reranker FOLDER      # with a cross-encoder's score as one more signal
    python benchmarks/abstention.py --plot docs/images/abstention.svg
    python benchmarks/abstention.py --show 60              # questions drawn by chance, and what stands first without
                                                           # the passage, to be read by hand
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from genwerk.core.cache import cache_directory
from genwerk.core.hashing import sha256_file
from genwerk.core.progress import track
from genwerk.core.workspace import Workspace
from genwerk.data.boolq import BoolqConfig, load_questions
from genwerk.data.documents import load_documents
from genwerk.data.questions import Question
from genwerk.evaluation.measures import Measure
from genwerk.recipe import fetch_source
from genwerk.recipes.reranking import Collection, boolq_collection
from genwerk.retrieval.abstention import Abstention, fit_abstention
from genwerk.retrieval.copies import are_alike, runs_of
from genwerk.retrieval.fusion import load_fusion
from genwerk.retrieval.reranked import RerankChoice, RerankedSearch
from genwerk.retrieval.reranking import Reranker, Scored
from genwerk.retrieval.search import Searcher, Signals

CASES = ("present", "passage removed", "and its copies", "and its article")
FITTED = "and its copies"  # what else the collection holds may be no answer
DEPTH = 50  # passages among which copies are looked for
GRID = np.linspace(0.05, 1.0, 39)
Found = Mapping[str, list[Signals]]  # case → signals, one a question


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=0, help="the first so many only; 0: all")
    parser.add_argument("--questions", type=int, default=0, help="of each part the first so many; 0: all")
    parser.add_argument("--reranker", type=Path, help="a cross-encoder's directory")
    parser.add_argument("--read", type=int, default=5, help="passages that the reranker reads")
    parser.add_argument("--share", type=float, default=0.1, help="of answerable questions that may go unanswered")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print what is found first instead, and stop")
    parser.add_argument("--plot", type=Path, help="file for the curve of risk over coverage")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    root = cache_directory() / "benchmarks" / "abstention"
    config = BoolqConfig()
    if chosen.passages:
        part = min(500, chosen.passages // 4)
        config = BoolqConfig(passages=chosen.passages, heldout=part, dev=part)
    collection = boolq_collection(Workspace(root.parent / "boolq" / "workspace"), config, fetch_source("minilm"))
    questions = load_questions(collection.dataset.path)
    parts = {split: [one for one in questions if one.split == split] for split in ("dev", "heldout")}
    parts = {split: some[: chosen.questions or None] for split, some in parts.items()}
    if chosen.show:
        show_first(collection, parts["heldout"], chosen.show)
        return
    found = {split: signals(collection, some, chosen, root / "signals") for split, some in parts.items()}
    fitted = fit_abstention(found["dev"]["present"], found["dev"][FITTED], max_false_abstention=chosen.share)
    print(f"\n{len(parts['dev'])} questions fitted on, {len(parts['heldout'])} held out, ", end="")
    print(f"{collection.dataset.metrics['documents']} passages\n{fitted.reason}\n")
    print(table(fitted, found["heldout"]))
    print(f"\n{each_signal(found, chosen.share)}")
    if chosen.plot:
        plot(fitted, found["heldout"], chosen.plot)
        print(f"\nrisk over coverage: {chosen.plot}")


def first_search(collection: Collection) -> Searcher:
    choice = load_fusion(collection.fit.path).choice
    return Searcher.open(collection.index.path, collection.embedder.path, choice)


def show_first(collection: Collection, questions: Sequence[Question], count: int) -> None:
    """How often the best passage that is left is of the same article, or a copy; and some of them."""
    searcher, documents = first_search(collection), {one.id: one for one in load_documents(collection.dataset.path)}
    best, articles, copies = [], 0, 0
    for question in questions:
        gold = documents[question.document_id]
        (first,) = searcher.search(question.text, 1, exclude=(gold.id,))
        best.append(documents[first.chunk.document_id])
        articles += best[-1].metadata["title"] == gold.metadata["title"]
        copies += are_alike(runs_of(gold.text), runs_of(best[-1].text))
    for place in random.Random(7).sample(range(len(questions)), min(count, len(questions))):
        print(f"\nQ  {questions[place].text}\n   {best[place].text}")
    told = f"the first one found is of its article for {articles}, a copy of it for {copies}"
    print(f"\nof {len(questions)} questions without their passage, {told}")


def signals(collection: Collection, questions: Sequence[Question], chosen: argparse.Namespace, kept: Path) -> Found:
    """Signals of every question in every case, from the file of an earlier run where there is one."""
    reader = sha256_file(chosen.reranker / "model.safetensors")[:12] if chosen.reranker else "none"
    name = f"{len(CASES)}-{collection.index.id[:12]}-{reader}-{chosen.read}-{questions[0].split}-{len(questions)}.json"
    if (kept / name).exists():
        held = json.loads((kept / name).read_text(encoding="utf-8"))
        return {case: [Signals(**one) for one in held[case]] for case in CASES}
    first, second = first_search(collection), RerankChoice(on=True, k=chosen.read)
    searcher = RerankedSearch(first, Remembered(chosen.reranker), second) if chosen.reranker else first
    articles: dict[str, list[str]] = defaultdict(list)
    documents = {one.id: one for one in load_documents(collection.dataset.path)}
    for document in documents.values():
        articles[document.metadata["title"]].append(document.id)
    found: dict[str, list[Signals]] = {case: [] for case in CASES}
    with track("signals", total=len(questions), unit="questions") as bar:
        for question in questions:
            gold = documents[question.document_id]
            near = {item.chunk.document_id for item in first.search(question.text, DEPTH)}
            copies = [one for one in near if are_alike(runs_of(gold.text), runs_of(documents[one].text))]
            without = ((), (gold.id,), (gold.id, *copies), (*copies, *articles[gold.metadata["title"]]))
            for case, exclude in zip(CASES, without, strict=True):
                found[case].append(searcher.look(question.text, exclude=exclude).signals)
            bar.advance()
    kept.mkdir(parents=True, exist_ok=True)
    text = json.dumps({case: [asdict(one) for one in some] for case, some in found.items()})
    (kept / name).write_text(text, encoding="utf-8")
    return found


class Remembered:
    """A reranker that reads a passage once for a question."""

    def __init__(self, folder: Path) -> None:
        self._reranker, self._known = Reranker.load(folder), dict[tuple[str, str], float]()

    def score(self, query: str, texts: Sequence[str], user: str = "") -> Scored:
        fresh = [text for text in dict.fromkeys(texts) if (query, text) not in self._known]
        if fresh:
            scores = self._reranker.score(query, fresh, user).scores
            self._known.update(((query, text), float(score)) for text, score in zip(fresh, scores, strict=True))
        return Scored(np.array([self._known[query, text] for text in texts], dtype=np.float32), 0)


def table(fitted: Abstention, found: Found) -> str:
    """Shares of questions left unanswered, with Wilson's intervals."""
    lines = ["| held-out questions | left unanswered | wanted |", "| --- | --- | --- |"]
    for case in CASES:
        silent = sum(fitted.abstains(one) for one in found[case])
        share = Measure.share("", silent, len(found[case]), "")
        wanted = "at most 0.10" if case == "present" else "at least 0.90"
        lines.append(f"| {case} | {share.value:.3f} ({share.low:.3f} to {share.high:.3f}) | {wanted} |")
    return "\n".join(lines)


def each_signal(found: Mapping[str, Found], share: float) -> str:
    """What each signal tells by itself on held-out questions, and all of them without it."""
    lines = ["| signal | AUC alone | AUC of the others together |", "| --- | --- | --- |"]
    held = found["heldout"]
    for name in [field.name for field in fields(Signals)]:
        alone = auc(*([getattr(one, name) for one in held[case]] for case in ("present", FITTED)))
        blanked = {split: {case: [blank(one, name) for one in some] for case, some in part.items()}
                   for split, part in found.items()}  # fmt: skip
        fitted = fit_abstention(*(blanked["dev"][case] for case in ("present", FITTED)), max_false_abstention=share)
        others = auc(*([fitted.score(one) for one in blanked["heldout"][case]] for case in ("present", FITTED)))
        lines.append(f"| {name} | {alone:.3f} | {others:.3f} |")
    return "\n".join(lines)


def blank(signals: Signals, name: str) -> Signals:
    return Signals(**(asdict(signals) | {name: 0.0}))


def auc(present: Sequence[float], removed: Sequence[float]) -> float:
    return float(roc_auc_score([1] * len(present) + [0] * len(removed), [*present, *removed]))


def risks(present: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """(G,) risk where the share GRID of answerable questions is answered."""
    thresholds = np.quantile(present, 1.0 - GRID)
    wrong = (removed[:, None] >= thresholds).mean(0)
    right = (present[:, None] >= thresholds).mean(0)
    return np.asarray(wrong / (wrong + right))


def plot(fitted: Abstention, found: Found, path: Path) -> None:
    """Risk over coverage of the held-out questions, with a 95 % bootstrap interval over questions."""
    import matplotlib.pyplot as plt

    scores = {case: np.array([fitted.score(one) for one in found[case]]) for case in CASES}
    present = scores["present"]
    generator, figure = np.random.default_rng(0), plt.figure(figsize=(6.0, 3.6))
    axes = figure.add_subplot()
    for label in CASES[1:]:
        gone = scores[label]
        rows = generator.integers(0, len(present), (1000, len(present)))
        drawn = np.array([risks(present[row], gone[row]) for row in rows])
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        (line,) = axes.plot(GRID, risks(present, gone), label=label)
        axes.fill_between(GRID, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
        covered, wrong = (present >= fitted.threshold).mean(), (gone >= fitted.threshold).mean()
        axes.plot(covered, wrong / (wrong + covered), "o", color=line.get_color())
    axes.set(
        xlabel="coverage: answerable questions answered", ylabel="risk: unanswerable among answered", ylim=(0, None)
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
