"""Reranking is switched on only where it helps, the smallest k that is enough is taken, and only the head is moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genwerk.core.errors import DataError, RequestError, WorkspaceError
from genwerk.core.types import Document
from genwerk.data.questions import Question
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.index import Index
from genwerk.retrieval.reranked import (
    RerankChoice,
    RerankedSearch,
    fit_reranking,
    joined_scores,
    load_reranking,
)
from genwerk.retrieval.reranking import Scored
from genwerk.retrieval.search import FusionChoice, Options, Searcher

MakeIndex = Callable[..., Index]
QUERY = "which mill is it"


class Oracle:
    """Likes texts that hold the word which `answers` names for the query; or dislikes them, or is blind."""

    def __init__(self, answers: dict[str, str], liking: float = 0.99) -> None:
        self.answers, self.liking, self.asked = answers, liking, list[int]()

    def score(self, query: str, texts: Sequence[str], user: str = "") -> Scored:
        self.asked.append(len(texts))
        wanted = self.answers.get(query, "nothing")
        found = [self.liking if f"{wanted} " in text else 0.5 for text in texts]
        return Scored(np.array(found, dtype=np.float32), 10 * len(texts))


@pytest.fixture
def world(make_index: MakeIndex, encoder: TextEncoder) -> tuple[Searcher, list[Question], dict[str, str]]:
    """Forty documents that search cannot tell apart, each the answer of one question."""
    documents = [Document.create(f"{n}.md", f"The mill is by place{n} of the river.") for n in range(40)]
    searcher = Searcher(make_index(documents), encoder, FusionChoice("dense", 0.5))
    questions, answers = [], {}
    ranked = [item.chunk.document_id for item in searcher.search(QUERY, 40)]
    for n, document in enumerate(documents):
        text = f"{QUERY} {'?' * (n + 1)}"
        answers[text] = f"place{n}"
        if document.id in ranked[:20]:
            questions.append(Question(text, document.id, 0, len(document.text), "dev", "terms"))
    return searcher, questions, answers


World = tuple[Searcher, list[Question], dict[str, str]]


def test_a_reranker_that_knows_is_switched_on(world: World, tmp_path: Path) -> None:
    searcher, questions, answers = world
    fitted = fit_reranking(searcher, Oracle(answers), questions, depth=20)
    assert fitted.on and fitted.gain.above_zero and fitted.k == 20
    assert "lies above 0" in fitted.reason and fitted.reranked.mean == 1.0
    assert [depth.k for depth in fitted.depths] == [5, 10, 15, 20]
    assert [depth.tokens for depth in fitted.depths] == [50.0, 100.0, 150.0, 200.0]
    fitted.save(tmp_path / "reranking.json")
    assert load_reranking(tmp_path) == fitted
    search = RerankedSearch(searcher, Oracle(answers), fitted.choice)
    assert all(search.search(one.text, 1)[0].chunk.document_id == one.document_id for one in questions)


@pytest.mark.parametrize("liking", [0.5, 0.01], ids=["blind", "wrong"])
def test_a_reranker_that_does_not_help_is_switched_off(world: World, liking: float) -> None:
    searcher, questions, answers = world
    fitted = fit_reranking(searcher, Oracle(answers, liking), questions, depth=20)
    assert not fitted.on and "switched off" in fitted.reason
    search = RerankedSearch(searcher, oracle := Oracle(answers, liking), fitted.choice)
    assert search.look(QUERY, 5) == searcher.look(QUERY, 5) and oracle.asked == []


def test_the_choice_itself_is_not_taken_for_a_gain(world: World) -> None:
    """With scores at random the best point of the grid is above 0 on the questions it was chosen on."""
    searcher, questions, _ = world
    draw = np.random.default_rng(1)

    class Noise:
        def score(self, query: str, texts: Sequence[str], user: str = "") -> Scored:
            return Scored(draw.uniform(0.01, 0.99, len(texts)).astype(np.float32), len(texts))

    assert not fit_reranking(searcher, Noise(), questions, depth=20).on


def test_a_smaller_k_is_taken_where_it_is_enough(world: World) -> None:
    searcher, questions, answers = world
    ranked = [item.chunk.document_id for item in searcher.search(QUERY, 40)]
    near = [one for one in questions if ranked.index(one.document_id) < 5]
    assert fit_reranking(searcher, Oracle(answers), near, depth=20).k == 5


def test_only_the_head_is_moved_and_nothing_is_lost(world: World) -> None:
    searcher, questions, answers = world
    one = questions[0]
    choice = RerankChoice(True, 5, 0.0)
    before = searcher.search(one.text, 12)
    after = RerankedSearch(searcher, Oracle(answers), choice).search(one.text, 12)
    assert after[5:] == before[5:]
    assert {item.chunk for item in after[:5]} == {item.chunk for item in before[:5]}
    assert [item.source for item in after] == ["reranked"] * 5 + ["dense"] * 7
    found = RerankedSearch(searcher, Oracle(answers), choice).look(one.text, 3)
    assert len(found.results) == 3 and replace(found.signals, reranker=0.0) == searcher.look(one.text, 12).signals


def test_access_is_kept_and_nothing_found_is_nothing_reranked(
    make_index: MakeIndex, encoder: TextEncoder, topics: list[Document]
) -> None:
    searcher = Searcher(make_index(topics), encoder)
    search = RerankedSearch(searcher, Oracle({}), RerankChoice(True, 20, 1.0))
    bees = next(document.id for document in topics if "bees" in document.source)
    assert bees not in {item.chunk.document_id for item in search.search("bees and nectar", 20)}
    assert bees in {item.chunk.document_id for item in search.search("bees and nectar", 20, groups=["keepers"])}
    assert search.search(" ") == []


def test_a_query_too_long_for_the_reranker_keeps_its_order(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    class Short:
        def score(self, query: str, texts: Sequence[str], user: str = "") -> Scored:
            raise RequestError("the query is too long", code="context_length_exceeded")

    searcher = world[0]
    search = RerankedSearch(searcher, Short(), RerankChoice(True, 5, 1.0))
    assert search.search(QUERY) == searcher.search(QUERY) == search.search(QUERY)
    assert capsys.readouterr().err.count("keeps the order") == 1


def test_one_question_that_is_too_long_ends_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    searcher, questions, answers = world

    class Short(Oracle):
        def score(self, query: str, texts: Sequence[str], user: str = "") -> Scored:
            if query == questions[0].text:
                raise RequestError("the query is too long", code="context_length_exceeded")
            return super().score(query, texts, user)

    fitted = fit_reranking(searcher, Short(answers), questions, depth=20)
    assert fitted.on and fitted.n_questions == len(questions) and fitted.reranked.mean < 1.0
    assert f"1 of {len(questions)} questions are too long" in capsys.readouterr().err


def test_what_was_decided_can_be_overruled(world: World) -> None:
    searcher, questions, answers = world
    one = questions[-1]
    off, on = (RerankedSearch(searcher, Oracle(answers), RerankChoice(choice, 20, 0.0)) for choice in (False, True))
    assert off.search(one.text, 3) == on.search(one.text, 3, options=Options(rerank=False))
    forced = off.search(one.text, 3, options=Options(rerank=True))
    assert forced == on.search(one.text, 3) and forced[0].chunk.document_id == one.document_id
    varied = on.find(one.text, 3, options=Options(mmr=0.5)).results
    assert varied[0] == forced[0] and len({item.chunk for item in varied}) == 3
    with pytest.raises(RequestError, match="no reranker"):
        searcher.search(one.text, options=Options(rerank=True))


def test_joined_scores_on_paper() -> None:
    joined = joined_scores([0.5, 0.75], [2.0, 1.0], 4.0)
    assert joined.tolist() == pytest.approx([4.0, np.log(3) + 2.0])
    assert joined_scores([0.5], [0.0], 4.0).tolist() == [0.0]


def test_too_few_questions_and_a_damaged_file_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        fit_reranking(world[0], Oracle({}), world[1][:1])
    (tmp_path / "reranking.json").write_text("{}")
    with pytest.raises(WorkspaceError, match="train-reranker"):
        load_reranking(tmp_path)
