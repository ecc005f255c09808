"""Mined negatives never answer the question: not the answer itself, its neighbours, nor copies of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from genwerk.core.types import Document
from genwerk.data.questions import Question
from genwerk.data.ranking_lists import RankingList, RankingLists
from genwerk.retrieval.copies import are_alike, runs_of
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.index import Index
from genwerk.retrieval.mining import MineConfig, log_odds, mine_negatives, questions_of, teach
from genwerk.retrieval.reranking import Scored
from genwerk.retrieval.search import Searcher

MakeIndex = Callable[..., Index]
ANSWER = "The Elbe is 1094 kilometres long and carries ships from Dresden to Hamburg."
COPY = "As was said, the Elbe is 1094 kilometres long and carries ships from Dresden to Hamburg, they say."
OTHER = "Ships on the Rhine carry coal from Basel to Rotterdam for many kilometres."


def about(document: Document, text: str) -> Question:
    start = document.text.index(text)
    return Question("how long is the Elbe", document.id, start, start + len(text), "train", "terms")


def test_no_negative_answers_the_question(make_index: MakeIndex, encoder: TextEncoder) -> None:
    """The tripwire: a copy of the answer stands first in the search, and would be a false negative."""
    documents = [Document.create(f"{n}.md", text) for n, text in enumerate((ANSWER, COPY, OTHER, ANSWER))]
    searcher = Searcher(make_index(documents), encoder)
    assert {item.chunk.document_id for item in searcher.search("how long is the Elbe", 4)} >= {documents[1].id}
    (found,) = (mined := mine_negatives(searcher, [about(documents[0], ANSWER)], documents)).lists
    assert mined.passages[found.positive] == ANSWER
    assert [mined.passages[number] for number in found.negatives] == [OTHER]
    assert mined.documents == ({"id": documents[0].id, "sha256": documents[0].sha256},)


def test_neighbours_of_the_answer_are_no_negatives(make_index: MakeIndex, encoder: TextEncoder) -> None:
    sentences = [
        "The Elbe rises in the mountains of Bohemia, far from any harbour.",
        "Vineyards follow it on both banks as far as Meissen and Dresden.",
        "In all, the Elbe is 1094 kilometres long when measured by boat.",
        "Barges laden with gravel wait there for hours before each lock.",
        "Storks nest on the chimneys of villages along the lower Elbe.",
        "Beyond Hamburg the Elbe grows so wide that fog hides its shores.",
    ]
    document = Document.create("river.md", " ".join(sentences))
    searcher = Searcher(make_index([document], max_chars=70), encoder)
    (found,) = (mined := mine_negatives(searcher, [about(document, sentences[2])], [document])).lists
    texts = [mined.passages[number].strip() for number in found.negatives]
    assert mined.passages[found.positive].strip() == sentences[2]
    assert set(texts) == {sentences[0], sentences[4], sentences[5]}


def are_copies(one: str, other: str) -> bool:
    return are_alike(runs_of(one), runs_of(other))


def test_copies_share_half_of_their_runs_of_words() -> None:
    assert are_copies(ANSWER, COPY) and are_copies(COPY, ANSWER) and are_copies(ANSWER, ANSWER.upper())
    assert not are_copies(ANSWER, OTHER) and not are_copies("two words", "two words")
    words = [f"w{n}" for n in range(22)]  # twenty runs of three
    assert are_copies(" ".join(words), " ".join(words[:12])) and are_copies(
        " ".join(words), " ".join([*words[:12], *"abcdefghij"])
    )
    assert not are_copies(" ".join(words), " ".join([*words[:11], *"abcdefghijk"]))


def test_a_question_whose_answer_is_not_indexed_gives_no_list(make_index: MakeIndex, encoder: TextEncoder) -> None:
    document = Document.create("a.md", ANSWER)
    searcher = Searcher(make_index([document]), encoder)
    assert mine_negatives(searcher, [Question("x", "nowhere", 0, 5, "train", "terms")], [document]).lists == ()


def test_training_and_development_share_no_document_and_held_out_ones_are_not_asked(tmp_path: Path) -> None:
    documents = [
        Document.create(
            f"{n}.md",
            f"# Subject{n} matters\n\nThe windmill{n} of parish{n} was rebuilt by carpenter{n} after a flood.\n",
            metadata={"split": "heldout" if n % 5 == 0 else "train", "language": "en"},
        )
        for n in range(60)
    ]
    dataset = SimpleNamespace(path=tmp_path)
    asked = {split: questions_of(MineConfig(), dataset, documents, split) for split in ("train", "dev")}  # type: ignore[arg-type]
    about = {split: {one.document_id for one in found} for split, found in asked.items()}
    held_out = {document.id for document in documents if document.metadata["split"] == "heldout"}
    assert about["train"] and about["dev"] and not about["train"] & about["dev"]
    assert not (about["train"] | about["dev"]) & held_out
    few = questions_of(MineConfig(n_questions=8), dataset, documents, "train")  # type: ignore[arg-type]
    assert len(few) == 8 and set(few) <= set(asked["train"])


class Liking:
    def score(self, query: str, texts: Sequence[str], user: str = "") -> Scored:
        return Scored(np.array([1.0 if query in text else 0.25 for text in texts], dtype=np.float32), 0)


def test_a_teacher_gives_log_odds_of_every_passage() -> None:
    lists = RankingLists(("b a", "c"), (RankingList("a", 0, (1,), "train", "d"),))
    (taught,) = teach(lists, Liking()).lists
    assert taught.scores is not None and taught.scores[1] == pytest.approx(np.log(1 / 3))
    assert taught.scores[0] == pytest.approx(log_odds(1.0)) and 10 < taught.scores[0] < 20
