"""Who answers from a living index follows it: what was removed or limited is in no answer that begins afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from local_postgres import Place
from test_answering import ALWAYS, Model
from test_live_index import Stub, open_live

from genwerk.core.errors import WorkspaceError
from genwerk.core.types import Document, Message
from genwerk.retrieval.answer_events import AnswerEvent, Done, Passages, Sentence
from genwerk.retrieval.answering import Answerer
from genwerk.retrieval.building import LiveIndex
from genwerk.retrieval.index import GoneError, Index
from genwerk.retrieval.search import Found, Searcher

QUESTION = [Message("user", "How long is the Elbe?")]
SAID = "The Elbe is 1094 kilometres long."


@pytest.fixture
def embedder(encoder: object) -> Stub:
    return Stub(encoder)


@pytest.fixture
def live(place: Place, topics: list[Document], embedder: Stub) -> LiveIndex:
    made = open_live(place("one"), embedder)
    made.sync(topics)
    return made


@pytest.fixture
def searcher(place: Place, live: LiveIndex, embedder: Stub) -> Iterator[Searcher]:
    index = Index.open(place("one"))
    yield Searcher(index, embedder)  # type: ignore[arg-type]
    index.close()


def ask(searcher: Searcher, *groups: str) -> Iterator[AnswerEvent]:
    return Answerer(searcher.index, searcher, Model(SAID), ALWAYS, groups=groups).answer(QUESTION)


def sources(events: Iterator[AnswerEvent]) -> set[str]:
    """Of everything that an answer shows: what was found, and what it cites."""
    found, *_, done = events
    assert isinstance(found, Passages) and isinstance(done, Done)
    return {one.source for one in (*found.documents, *done.citations)}


def test_what_was_removed_or_limited_is_in_no_answer(
    live: LiveIndex, searcher: Searcher, topics: list[Document]
) -> None:
    rivers = topics[3]
    assert rivers.source in sources(ask(searcher))
    states = {searcher.index.state}
    live.sync([replace(rivers, acl=("sailors",))])
    assert rivers.source not in sources(ask(searcher)) and rivers.source in sources(ask(searcher, "sailors"))
    states.add(searcher.index.state)
    live.remove([rivers.source])
    assert rivers.source not in sources(ask(searcher, "sailors"))
    states.add(searcher.index.state)
    live.sync([rivers])
    assert rivers.source in sources(ask(searcher))
    states.add(searcher.index.state)
    list(ask(searcher))
    assert len(states) == 4 and searcher.index.state in states, "what is kept under a state is never another state's"


def test_an_answer_in_progress_keeps_what_it_found(live: LiveIndex, searcher: Searcher, topics: list[Document]) -> None:
    events = ask(searcher)
    assert isinstance(next(events), Passages)
    live.remove([topics[3].source])
    assert topics[3].source not in sources(ask(searcher))  # this one began later, and the index has followed
    said = [event for event in events if isinstance(event, Sentence)]
    assert [one.text for one in said] == [SAID] and said[0].citation and said[0].citation.source == topics[3].source


@pytest.mark.parametrize("others", [True, False], ids=["another has followed", "nobody has"])
def test_what_goes_between_finding_and_reading_is_asked_again(
    live: LiveIndex, searcher: Searcher, topics: list[Document], monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    find, times = searcher.find, list[int]()

    def found(*asked: Any, **how: Any) -> Found:
        result = find(*asked, **how)
        if not times:
            live.remove([topics[3].source])
            if others:
                searcher.index.refresh()
        times.append(len(result.results))
        return result

    monkeypatch.setattr(searcher, "find", found)
    assert topics[3].source not in sources(ask(searcher)) and len(times) == 2


def test_an_unknown_document_is_not_asked_for_for_ever(searcher: Searcher) -> None:
    with pytest.raises(GoneError, match="not in the index"):
        searcher.index.following(lambda: searcher.index.shown("0" * 16))
    assert not searcher.index.may_see("0" * 16)


def test_another_index_in_its_place_is_not_taken_for_it(
    place: Place, live: LiveIndex, searcher: Searcher, topics: list[Document], embedder: Stub
) -> None:
    if isinstance(place("one"), str):
        with live.store.writing() as (sql, change), change():
            sql.execute("UPDATE meta SET value = 'restored' WHERE key = 'identity'")
    else:
        shutil.rmtree(place("one"))
        open_live(place("one"), embedder).sync(topics[:1])
    with pytest.raises(WorkspaceError, match=r"another index .* Start the server"):
        list(ask(searcher))
