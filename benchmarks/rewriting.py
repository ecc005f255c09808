"""Whether search is better when a small model rewrites the question: BoolQ's development questions, SmolLM2-135M.

Each kind of rewriting searches with and without; it is switched on only if the 95 % bootstrap interval of the gain in
nDCG@10 lies above 0. The collection and its index are those of benchmarks/boolq.py, found where that has made them.

    python benchmarks/rewriting.py                          # 300 questions, three kinds
    python benchmarks/rewriting.py --quick --questions 10   # 1,500 passages
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from genwerk.core.cache import cache_directory
from genwerk.core.workspace import Workspace
from genwerk.data.boolq import BoolqConfig, load_questions
from genwerk.inference.engines import load_engine
from genwerk.models.base import LoadBaseConfig
from genwerk.recipe import fetch_source
from genwerk.recipes.reranking import boolq_collection
from genwerk.retrieval.fusion import load_fusion
from genwerk.retrieval.rewriting import KINDS, fit_rewriting
from genwerk.retrieval.search import Searcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder of what was decided; the cache directory when left out")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    root = cache_directory() / "benchmarks" / "boolq"
    workspace, out = Workspace(root / "workspace"), chosen.out or root / "rewriting"
    out.mkdir(parents=True, exist_ok=True)
    boolq = BoolqConfig(passages=1500, heldout=200, dev=200) if chosen.quick else BoolqConfig()
    held = boolq_collection(workspace, boolq, fetch_source("minilm"))
    questions = [one for one in load_questions(held.dataset.path) if one.split == "dev"][: chosen.questions]
    searcher = Searcher.open(held.index.path, held.embedder.path, load_fusion(held.fit.path).choice)
    loading = LoadBaseConfig(name=chosen.model)
    model = workspace.step("genwerk.models.base:load_base", loading, fetch_source(chosen.model), kind="model")
    engine = load_engine(model.path, name=chosen.model, precision="int8")
    print(
        f"\n{len(questions)} development questions over {held.dataset.metrics['documents']} passages, {chosen.model}\n"
    )
    print("| searched for | nDCG@10 of the question | rewritten | gain | switched on |\n|" + "---|" * 5)
    for found in fit_rewriting(searcher, engine.stream, questions, chosen.kinds):
        found.save(out / f"{found.kind}.json")
        gain = f"{found.gain.mean:+.3f} ({found.gain.low:+.3f} to {found.gain.high:+.3f})"
        print(f"| {found.kind} | {found.question.mean:.3f} | {found.rewritten.mean:.3f} | {gain} | "
              f"{'yes' if found.on else 'no'} |")  # fmt: skip
    engine.close()
    searcher.close()


if __name__ == "__main__":
    main()
