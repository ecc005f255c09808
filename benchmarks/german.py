"""German questions against German passages, and against the same pages in English.

The help of LibreOffice lies page by page in both languages (Debian). Known-item questions are made from the German
pages; the answer is the German page, and in the second table its English twin. Two embedders, three arms each:
MiniLM knows English only, multilingual-e5-small knows both. Pages are ranked by their best chunk. Questions by title
name a heading, those by terms some words of a sentence.

    python benchmarks/german.py                          # 2,561 pages in each language, 1,000 questions
    python benchmarks/german.py --part swriter --questions 100
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from boolq import scored, table

from genwerk.core.artifact import Artifact
from genwerk.core.assets import fetch
from genwerk.core.cache import cache_directory
from genwerk.core.types import ARMS, Document
from genwerk.core.workspace import Workspace
from genwerk.data.documents import load_documents
from genwerk.data.prepare import PrepareConfig
from genwerk.data.questions import Question, known_item_questions
from genwerk.data.sources import source_fingerprint
from genwerk.recipe import fetch_source
from genwerk.retrieval.building import IndexConfig
from genwerk.retrieval.search import FusionChoice, Searcher

VERSION = "4:7.4.7-1+deb12u14"
HELP = {
    "de": (
        "libreoffice-help-de",
        "/usr/share/libreoffice/help/de/text/",
        "2672ab4b1483fcc2f20038d069038d793c9a6145d6ad4f7996e54bf29702e0bb",
    ),
    "en": (
        "libreoffice-help-en-us",
        "/usr/share/libreoffice/help/en-US/text/",
        "0c64329f6ac7037b3cb1f1281cc27b57e8e4c02a4d5ed624cc7d5b99a9558ecb",
    ),
}
DEPTH = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--part", default="", help="folder of the help, such as swriter; all when left out")
    parser.add_argument("--embedders", nargs="+", default=["minilm", "e5"])
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    root = cache_directory() / "benchmarks" / "german"
    workspace, out = Workspace(root / "workspace"), root / "runs"
    out.mkdir(parents=True, exist_ok=True)
    datasets = {language: prepared(workspace, language, chosen.part) for language in HELP}
    pages = {language: load_documents(dataset.path) for language, dataset in datasets.items()}
    twins = {page_of(page): page.id for page in pages["en"]}
    answers = {page.id: twins[page_of(page)] for page in pages["de"] if page_of(page) in twins}
    asked = [one for one in known_item_questions(pages["de"], seed=0) if one.document_id in answers]
    asked = asked[: chosen.questions]
    gold: Mapping[str, Sequence[Question]] = {
        "de": asked, "en": [replace(one, document_id=answers[one.document_id]) for one in asked],
    }  # fmt: skip
    print(f"{len(asked)} German questions")
    for language, dataset in datasets.items():
        for name in chosen.embedders:
            searcher = searcher_of(workspace, dataset, name, IndexConfig())
            values = {
                arm: scored(f"{language} {name} {arm}", partial(searcher.search, k=DEPTH, arm=arm), gold[language], out)
                for arm in ARMS
            }
            print(f"\n{len(pages[language])} pages in `{language}`, embedded by {name}\n\n{table(values)}")
            for style in ("title", "terms"):
                places = [place for place, one in enumerate(asked) if one.style == style]
                part = {arm: {measure: [found[place] for place in places] for measure, found in of.items()}
                        for arm, of in values.items()}  # fmt: skip
                print(f"\n{len(places)} of them by {style}\n\n{table(part)}")
    print(f"\nhybrid is the mean of both arms, not fitted; runs and qrels: {out}")


def prepared(workspace: Workspace, language: str, part: str) -> Artifact:
    """The pages of one language as a dataset."""
    package, folder, sha256 = HELP[language]
    path = fetch(f"deb:{package}={VERSION}!{folder}", sha256)
    sources = (str(path / part),)
    config = PrepareConfig(sources=sources, languages=(language,), license="MPL-2.0")
    return workspace.step("genwerk.data.prepare:prepare", config, source_fingerprint(sources), kind="dataset")


def searcher_of(workspace: Workspace, dataset: Artifact, embedder: str, config: IndexConfig) -> Searcher:
    model = fetch_source(embedder)
    made = workspace.step("genwerk.retrieval.building:build_index", config, dataset, model, kind="index")
    return Searcher.open(made.path, model.path, FusionChoice("hybrid", 0.5))


def page_of(document: Document) -> str:
    """Its place below the folder that was read, which is the same in both languages."""
    return document.source.partition("/")[2]


if __name__ == "__main__":
    main()
