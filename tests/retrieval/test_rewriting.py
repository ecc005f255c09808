"""Rewriting finds what only another wording finds, keeps to access, and is switched on only where it helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from genwerk.core.errors import ConfigError, DataError, RequestError
from genwerk.core.types import Document, Request
from genwerk.data.questions import Question
from genwerk.inference.generation import Delta
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.index import Index
from genwerk.retrieval.reranked import RerankChoice, RerankedSearch
from genwerk.retrieval.reranking import Scored
from genwerk.retrieval.rewriting import (
    KINDS,
    DecideRewritingConfig,
    RewrittenSearch,
    decide_rewriting,
    fit_rewriting,
    hypothetical_passage,
    load_rewriting,
    other_questions,
)
from genwerk.retrieval.search import Found, FusionChoice, Options, Searcher

MakeIndex = Callable[..., Index]


class Writer:
    """Writes the same, in two pieces, and counts how often it was asked."""

    def __init__(self, text: str) -> None:
        self.text, self.asked = text, 0

    def __call__(self, request: Request) -> Iterator[Delta]:
        self.asked += 1
        assert "Question:" in request.messages[-1].content
        yield Delta(self.text[:5])
        yield Delta(self.text[5:])


def test_what_is_written_becomes_questions() -> None:
    writer = Writer(
        'Here they are:\n1. How long is it?\n- "Where is it?"\nquestion 3: Why?\nHow long is it?\n\nAnd more?'
    )
    assert other_questions("multi-query", "why?", writer) == ["How long is it?", "Where is it?", "And more?"]
    assert hypothetical_passage("Why?", Writer(" It is\n so. ")) == "It is so."


@pytest.fixture
def world(make_index: MakeIndex, encoder: TextEncoder) -> tuple[Searcher, list[Question]]:
    """Twelve rivers whose questions have no word of their text."""
    documents = [Document.create(f"{n}.md", f"The Elbe{n} carries water to harbour{n}.") for n in range(12)]
    documents += [Document.create(f"x{n}.md", f"Which stream goes where, asked person {n}.") for n in range(30)]
    documents.append(Document.create("secret.md", "The Elbe5 carries gold.", acl=("kings",)))
    searcher = Searcher(make_index(documents), encoder, FusionChoice("hybrid", 0.5))
    asked = [Question(f"Which stream goes where, no {n}?", one.id, 0, len(one.text), "dev", "terms")
             for n, one in enumerate(documents[:12])]  # fmt: skip
    return searcher, asked


World = tuple[Searcher, list[Question]]


class Knowing(Writer):
    def __call__(self, request: Request) -> Iterator[Delta]:
        number = request.messages[-1].content.rsplit("no ", 1)[1].rstrip("?")
        yield Delta(f"The Elbe{number} carries water to harbour{number}.")


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_knows_other_words_is_switched_on(world: World, kind: str, tmp_path: Path) -> None:
    searcher, asked = world
    (fitted,) = fit_rewriting(searcher, Knowing(""), asked, [kind])
    assert fitted.on and fitted.gain.above_zero and "lies above 0" in fitted.reason
    fitted.save(tmp_path / "rewriting.json")
    found = RewrittenSearch(searcher, Knowing(""), kind).look(asked[5].text, 20)
    assert asked[5].document_id in {item.chunk.document_id for item in found.results}
    assert all(not searcher.index.document(item.chunk.document_id).acl for item in found.results)
    assert found.signals == searcher.look(asked[5].text, 100).signals


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_babbles_is_switched_off(world: World, kind: str) -> None:
    searcher, asked = world
    (fitted,) = fit_rewriting(searcher, Writer("Bread bread bread."), asked, [kind])
    assert not fitted.on
    writer = Writer("Bread?")
    off = RewrittenSearch(searcher, writer)
    assert off.look(asked[0].text) == searcher.look(asked[0].text) and writer.asked == 0
    overruled = RewrittenSearch(searcher, writer, kind).look(asked[0].text, options=Options(rewrite="none"))
    assert overruled == searcher.look(asked[0].text) and writer.asked == 0
    once = RewrittenSearch(searcher, writer, kind)
    assert once.search(asked[0].text) == once.search(asked[0].text) and writer.asked == 1
    assert once.search("  ") == []


def test_every_question_is_searched_as_it_is_once_for_all_kinds(world: World) -> None:
    searcher, asked = world
    plain: list[str] = []

    class Counting(Searcher):
        def find(self, query: str, k: int = 8, arm: str | None = None, **how: Any) -> Found:
            plain.extend([query] if k == 10 and "meaning" not in how else [])
            return super().find(query, k, arm, **how)

    counting = Counting(searcher.index, searcher.embedder, searcher.fusion)
    together = fit_rewriting(counting, Knowing(""), asked)
    assert plain == [question.text for question in asked]
    assert together == [fit_rewriting(searcher, Knowing(""), asked, [kind])[0] for kind in KINDS]


def test_an_unknown_kind_and_too_few_questions_are_refused(world: World) -> None:
    with pytest.raises(ConfigError, match="multi-query"):
        RewrittenSearch(world[0], Writer(""), "step-back")
    with pytest.raises(DataError, match="too few"):
        fit_rewriting(world[0], Writer(""), world[1][:1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_for_is_chosen_among_and_reranked_as_ever(world: World, kind: str) -> None:
    """Of identical texts one, unlike ones first, a second stage over all: also where only a wording found it."""
    searcher, asked = world
    question = asked[5]

    class Likes:
        def score(self, query: str, texts: Sequence[str], user: str = "") -> Scored:
            assert query == question.text, "the reranker reads the question, not what was written for it"
            return Scored(np.array([0.9 if "Elbe5" in text else 0.1 for text in texts], dtype=np.float32), 1)

    rewritten = RewrittenSearch(searcher, Knowing(""))
    options = Options(mmr=0.5, distinct=True, rewrite=kind)
    found = rewritten.find(question.text, 6, options=options)
    assert len({item.chunk for item in found.results}) == 6 and found.written
    second = RerankedSearch(rewritten, Likes(), RerankChoice(True, 40, 0.0))
    for some in (options, Options(rewrite=kind)):
        first = second.find(question.text, 3, options=some)
        assert first.results[0].chunk.document_id == question.document_id and first.results[0].source == "reranked"
    assert second.look(question.text, 3, options=Options(rewrite=kind)).signals.cosine == (
        searcher.look(question.text, 100).signals.cosine
    )


def test_without_a_model_rewriting_is_refused(world: World) -> None:
    with pytest.raises(RequestError, match="no model that rewrites"):
        world[0].find("why", options=Options(rewrite="hyde"))
    with pytest.raises(RequestError, match="Use one of none, multi-query"):
        Options(rewrite="other")


def test_the_kind_that_a_recipe_names_is_kept_without_measuring(tmp_path: Path) -> None:
    nothing: Any = None
    step: Any = SimpleNamespace(out=tmp_path)
    decide_rewriting(DecideRewritingConfig(kind="hyde"), step, nothing, nothing, nothing, nothing, nothing)
    assert load_rewriting(tmp_path) == "hyde"
