"""Ranking lists from an index: what the search finds for a question in place of the passage that answers it.

Sources: Karpukhin et al. (2020), Dense passage retrieval, section 3.2, for negatives that a search found; Qu et al.
(2021), RocketQA, section 4.1, for the danger that some of them answer as well; copies are told as in copies.py.

    question ─ search, the first `depth` ─ without what touches the answer, and without its copies ─ `kept` of them

Chosen:   a passage counts as a copy when half of the runs of three words of the shorter one also stand in the other;
          neighbours of the answer in its own document may continue it, and are left out too. The answer is the passage
          with most of the span that answers; of equal ones the one that is found first. One document in eight is for
          development where the dataset does not say itself.
Left out: a model that judges whether a negative answers after all.
Try it:   python benchmarks/boolq.py --quick
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.progress import track
from genwerk.core.types import Chunk, Document, Retrieved
from genwerk.core.workspace import Artifact, Source, Step
from genwerk.data.boolq import load_questions
from genwerk.data.documents import load_documents
from genwerk.data.questions import Question, known_item_questions
from genwerk.data.ranking_lists import RankingList, RankingLists, write_lists
from genwerk.retrieval.copies import are_alike, runs_of
from genwerk.retrieval.fusion import load_fusion
from genwerk.retrieval.reranking import Scorer
from genwerk.retrieval.search import Searcher
from genwerk.training.tokenise import seen

__all__ = ["MineConfig", "mine_lists", "mine_negatives", "questions_of", "teach"]

_DEV_SHARE = 8  # one document in so many


class MineConfig(Config):
    """How ranking lists are mined."""

    n_questions: int = Field(4000, ge=1, description="questions for training; a quarter as many for development")
    depth: int = Field(30, ge=1, description="passages that the search finds for each")
    kept: int = Field(12, ge=1, description="of them kept as negatives, the best first")
    arm: str = Field("hybrid", description="arm of the search")
    seed: int = Field(0, ge=0, description="which questions are made")


def mine_lists(
    config: MineConfig, step: Step, index: Artifact, embedder_dir: Source | Artifact, dataset: Artifact, *fit: Artifact
) -> dict[str, float | int | str]:
    """Write ranking lists into `step.out`; `fit` holds the fusion weight, where there is one.

    Raises DataError when no question can be made from the documents.
    """
    documents = load_documents(dataset.path)
    fusion = load_fusion(fit[0].path).choice if fit else None
    chosen = [one for split in ("train", "dev") for one in questions_of(config, dataset, documents, split)]
    with closing(Searcher.open(index.path, embedder_dir.path, fusion)) as searcher:
        found = mine_negatives(searcher, chosen, documents, depth=config.depth, kept=config.kept, arm=config.arm)
    if not found.of("train"):
        remedy = "Add documents with titled sections or with whole sentences."
        raise DataError("no ranking list can be made from the documents", where=str(dataset.path), remedy=remedy)
    write_lists(step.out, found)
    sizes = [len(one.negatives) for one in found.lists]
    return {"train": len(found.of("train")), "dev": len(found.of("dev")), "negatives": sum(sizes) / len(sizes)}


def questions_of(config: MineConfig, dataset: Artifact, documents: Sequence[Document], split: str) -> list[Question]:
    """Questions of `split` (train or dev): those of the dataset, or known items from its training documents.

    No question is about a document that is held out. Questions beyond the limit are left out, spread evenly.
    """
    there = load_questions(dataset.path)
    if not there:
        made = known_item_questions(documents, seed=config.seed, split="train")
        there = [replace(one, split="dev" if _is_dev(one.document_id) else "train") for one in made]
    chosen = [one for one in there if one.split == split]
    limit = config.n_questions if split == "train" else max(1, config.n_questions // 4)
    order = sorted(range(len(chosen)), key=lambda place: _place(f"{config.seed} {place} {chosen[place].text}"))
    return [chosen[place] for place in sorted(order[:limit])]


def mine_negatives(
    searcher: Searcher,
    questions: Sequence[Question],
    documents: Sequence[Document],
    *,
    depth: int = 30,
    kept: int = 12,
    arm: str = "hybrid",
) -> RankingLists:
    """A list for each question that has an answer among the passages; documents are those that questions are about."""
    index, numbers, texts = searcher.index, dict[Chunk, int](), list[str]()
    by_document: dict[str, list[Chunk]] = {}
    for chunk in index.chunks:
        by_document.setdefault(chunk.document_id, []).append(chunk)

    def number(chunk: Chunk) -> int:
        if chunk not in numbers:
            numbers[chunk] = len(texts)
            texts.append(index.chunk_text(chunk))
        return numbers[chunk]

    lists = []
    with track("mining", total=len(questions), unit="questions") as bar:
        for question in questions:
            found = searcher.search(question.text, depth, arm)
            answer = _answer(question, by_document.get(question.document_id, ()), found)
            if answer is not None:
                own = runs_of(index.chunk_text(answer))
                others = [item.chunk for item in found if not _adjoins(item.chunk, question)]
                others = [chunk for chunk in others if not are_alike(own, runs_of(index.chunk_text(chunk)))][:kept]
                negatives = [number(chunk) for chunk in others]
                lists.append(
                    RankingList(question.text, number(answer), tuple(negatives), question.split, question.document_id)
                )
            bar.advance()
    about = {one.document_id for one in lists}
    return RankingLists(tuple(texts), tuple(lists), tuple(seen(item for item in documents if item.id in about)))


def teach(lists: RankingLists, teacher: Scorer) -> RankingLists:
    """The same lists with a teacher's log-odds of every passage; the teacher scores in (0, 1)."""
    taught = []
    with track("asking the teacher", total=len(lists.lists), unit="lists") as bar:
        for one in lists.lists:
            texts = [lists.passages[number] for number in (one.positive, *one.negatives)]
            scores = tuple(log_odds(float(score)) for score in teacher.score(one.query, texts).scores)
            taught.append(replace(one, scores=scores))
            bar.advance()
    return replace(lists, lists=tuple(taught))


def log_odds(score: float) -> float:
    """ln(s / (1 - s)), of a score that float32 can tell from 0 and 1."""
    kept = min(max(score, 1e-7), 1.0 - 1e-7)
    return math.log(kept / (1.0 - kept))


def _answer(question: Question, chunks: Sequence[Chunk], found: Sequence[Retrieved]) -> Chunk | None:
    """The chunk that holds most of the span; of equal ones the one found first, then the first in the text."""
    shared = [min(chunk.end, question.end) - max(chunk.start, question.start) for chunk in chunks]
    most = max(shared, default=0)
    if most <= 0:
        return None
    equal = [chunk for chunk, size in zip(chunks, shared, strict=True) if size == most]
    return next((item.chunk for item in found if item.chunk in equal), equal[0])


def _adjoins(chunk: Chunk, question: Question) -> bool:
    """Whether the chunk overlaps the answer, or nothing but white space can lie between them."""
    gap = max(question.start - chunk.end, chunk.start - question.end)
    return chunk.document_id == question.document_id and gap <= 2


def _is_dev(document_id: str) -> bool:
    return _place(f"dev {document_id}") % _DEV_SHARE == 0


def _place(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "little")
