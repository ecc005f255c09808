"""BoolQ as a collection to search: each passage once, and for each question the one passage that answers it.

Source: Clark et al. (2019), BoolQ: Exploring the surprising difficulty of natural yes/no questions. People typed the
questions into a search engine; the passages are paragraphs of Wikipedia, which begin with the article's title.

    combined.jsonl, one object a line with question and passage ─ prepare_boolq ─ documents.jsonl, questions.jsonl

Chosen:   the three parts (heldout, dev, train) are made of whole articles in the order of their titles' hashes, so
          that no passage, nor another paragraph of its article, answers questions of two parts; all passages are
          searched. A question that is asked of two passages has no single answer and is left out.
Left out: the answers yes and no, which the search does not need.
Try it:   python benchmarks/boolq.py --quick
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from genwerk.core.atomic import write_text
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.jsonl import read_jsonl
from genwerk.core.types import Document
from genwerk.core.workspace import Source, Step
from genwerk.data.documents import write_documents
from genwerk.data.questions import Question

__all__ = ["Boolq", "BoolqConfig", "load_questions", "prepare_boolq", "read_boolq"]

QUESTIONS = "questions.jsonl"
_REMEDY = 'Fetch it again: `genwerk.core.assets.fetch("boolq")`.'


class BoolqConfig(Config):
    """How many questions are kept from training; the rest is trained on."""

    passages: int = Field(0, ge=0, description="the first so many passages only, for a quick look; 0: all")
    heldout: int = Field(2000, ge=1, description="questions that are only measured on")
    dev: int = Field(1000, ge=1, description="questions on which is decided what is served")


@dataclass(frozen=True, slots=True)
class Boolq:
    """Passages as documents, whose `split` says which part they are of, and the questions with the same split."""

    documents: tuple[Document, ...]
    questions: tuple[Question, ...]


def prepare_boolq(config: BoolqConfig, step: Step, source: Source) -> dict[str, float | int | str]:
    """Write `documents.jsonl` and `questions.jsonl` into `step.out`. Raises DataError for a file that is another."""
    found = read_boolq(source.path, passages=config.passages, heldout=config.heldout, dev=config.dev)
    write_documents(step.out, found.documents)
    lines = (json.dumps(asdict(question), ensure_ascii=False) for question in found.questions)
    write_text(step.out / QUESTIONS, "".join(line + "\n" for line in lines))
    counts = {split: sum(one.split == split for one in found.questions) for split in ("train", "dev", "heldout")}
    return {"documents": len(found.documents), "questions": len(found.questions), **counts}


def load_questions(path: Path) -> list[Question]:
    """Questions that came with the dataset at `path`; none where there is no such file. Raises DataError."""
    file = path / QUESTIONS
    if not file.is_file():
        return []
    try:
        return [Question(**row) for row in read_jsonl(file)]
    except (ValueError, TypeError, OSError) as error:
        remedy = "Prepare the dataset anew."
        raise DataError(f"the questions cannot be read: {error!r}", where=str(file), remedy=remedy) from error


def read_boolq(path: Path, *, passages: int = 0, heldout: int = 2000, dev: int = 1000) -> Boolq:
    """The collection in the file's order. Raises DataError for a file that cannot be read or has too few questions."""
    pairs = _read_pairs(path)
    texts = list(dict.fromkeys(passage for _, passage in pairs))[: passages or None]
    known = set(texts)
    asked: dict[str, set[str]] = defaultdict(set)
    for question, passage in pairs:
        asked[question].add(passage)
    pairs = [pair for pair in dict.fromkeys(pairs) if len(asked[pair[0]]) == 1 and pair[1] in known]
    splits = _assign(pairs, {"heldout": heldout, "dev": dev})
    documents, questions, of = [], [], {}
    for number, passage in enumerate(texts):
        about = {"split": splits.get(_article(passage), "train"), "language": "en", "title": _article(passage)}
        of[passage] = Document.create(f"boolq/{number:05d}.txt", passage, metadata=about)
        documents.append(of[passage])
    for question, passage in pairs:
        document = of[passage]
        split = document.metadata["split"]
        questions.append(Question(question, document.id, 0, len(passage), split, "boolq"))
    return Boolq(tuple(documents), tuple(questions))


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    """(question, passage) of each line."""
    pairs = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    record = json.loads(line)
                    question, passage = str(record["question"]).strip(), str(record["passage"]).strip()
                    if not question or not passage:
                        raise ValueError(f"line {number} has an empty question or passage")
                    pairs.append((question, passage))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"this is no file of BoolQ: {error!r}", where=str(path), remedy=_REMEDY) from error
    return pairs


def _assign(pairs: Sequence[tuple[str, str]], wanted: dict[str, int]) -> dict[str, str]:
    """Article → heldout or dev, so that each part has exactly as many questions as wanted; all others are train."""
    questions: dict[str, int] = defaultdict(int)
    for _, passage in pairs:
        questions[_article(passage)] += 1
    left, splits = dict(wanted), {}
    for article in sorted(questions, key=lambda name: hashlib.sha256(f"boolq {name}".encode()).digest()):
        part = next((name for name, room in left.items() if questions[article] <= room), None)
        if part is not None:
            splits[article] = part
            left[part] -= questions[article]
    short = {name: room for name, room in left.items() if room}
    if short or len(splits) == len(questions):
        what = f"{len(pairs)} questions are too few for {sum(wanted.values())} to be kept from training"
        raise DataError(what, remedy="Keep fewer: lower `heldout` and `dev`.")
    return splits


def _article(passage: str) -> str:
    """The title of the article, which stands before the first ` -- `; a passage without one is by itself."""
    title, dashes, _ = passage.partition(" -- ")
    return title if dashes else hashlib.sha256(passage.encode()).hexdigest()
