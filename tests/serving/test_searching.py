"""`/v1/search`: ranks and scores of every arm, nothing that the reader may not see, errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from genwerk.core.errors import RequestError
from genwerk.core.types import Chunk, Document
from genwerk.retrieval.index import Index
from genwerk.retrieval.reranked import RerankChoice, RerankedSearch
from genwerk.retrieval.reranking import Scored
from genwerk.retrieval.search import FusionChoice, Searcher
from genwerk.retrieval.store import FILE_NAME, write_store
from genwerk.serving.deployment import Deployment
from genwerk.serving.searching import parse_search, search

TEXTS = {"bread.md": "Bread is baked in an oven.", "bees.md": "Bees bake no bread.", "sea.md": "Rivers run to the sea."}


class Letters:
    """An embedder that counts letters."""

    identity, dimension = "letters", 26

    def embed(self, texts: list[str]) -> np.ndarray:
        counts = np.array([[text.lower().count(chr(97 + n)) + 0.01 for n in range(26)] for text in texts])
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    documents = [
        Document.create(name, text, acl=("keepers",) if name == "bees.md" else ()) for name, text in TEXTS.items()
    ]
    chunks = [Chunk(one.id, 0, len(one.text)) for one in documents]
    write_store(tmp_path / FILE_NAME, documents, chunks, Letters().embed([*TEXTS.values()]), {"embedder": "letters"})
    index = Index.open(tmp_path)
    fields = {"name": "d", "workspace": None, "engine": SimpleNamespace(name="e"), "guards": None}
    yield Deployment(**fields, index=index, searcher=Searcher(index, Letters(), FusionChoice("hybrid", 0.3)))  # type: ignore[arg-type]
    index.close()


def test_each_passage_has_its_rank_and_score_in_every_arm(deployment: Deployment) -> None:
    found = search(deployment, parse_search({"query": "bread in the oven", "k": 2}))
    first = found["data"][0]
    assert (first["source"], first["text"], first["start"]) == ("bread.md", TEXTS["bread.md"], 0)
    assert first["arms"]["bm25"]["rank"] == first["arms"]["hybrid"]["rank"] == 1
    assert found["data"][1]["arms"]["bm25"] is None  # no word of the question
    assert (found["arm"], found["weight"], found["fitted"]) == (
        "hybrid",
        0.3,
        {"arm": "hybrid", "weight": 0.3, "rerank": None, "rewrite": "none"},
    )
    words = search(deployment, parse_search({"query": "bread in the oven", "arm": "bm25"}))
    assert [item["source"] for item in words["data"]] == ["bread.md"]


def test_what_the_reader_may_not_see_is_neither_found_nor_counted(deployment: Deployment) -> None:
    call = parse_search({"query": "bread", "weight": 0.5})
    hidden, shown = search(deployment, call), search(deployment, call, ("keepers",))
    assert hidden["searched"] == 2 and "bees.md" not in {item["source"] for item in hidden["data"]}
    assert shown["searched"] == 3 and "bees.md" in {item["source"] for item in shown["data"]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "query"), ({"query": "  "}, "query"), ({"query": "x" * 20_001}, "query"), ({"query": "a", "k": 0}, "k"),
        ({"query": "a", "k": True}, "k"), ({"query": "a", "arm": "none"}, "arm"),
        ({"query": "a", "weight": 2}, "weight"), ({"query": "a", "weight": "0.5"}, "weight"),
        ({"query": "a", "filter": {}}, "filter"), ({"query": "a", "mmr": 2}, "mmr"),
        ({"query": "a", "where": 3}, "where"),
        ({"query": "a", "fusion": "borda"}, "fusion"), ({"query": "a", "distinct": 1}, "distinct"),
        ({"query": "a", "rerank": "yes"}, "rerank"), ({"query": "x" * 100_000}, "query"),
        ({"query": "a", "rewrite": "better"}, "rewrite"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_named(body: dict[str, object], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_search(body)
    assert caught.value.param == param


def test_options_are_obeyed_and_told(deployment: Deployment) -> None:
    found = search(deployment, parse_search({"query": "the ovne", "arm": "bm25", "where": {"source": "*.md"}}))
    assert found["corrections"] == [{"asked": "ovne", "searched": "oven"}] and found["data"][0]["source"] == "bread.md"
    assert search(deployment, parse_search({"query": "ovne", "arm": "bm25", "spelling": False}))["data"] == []
    one = search(deployment, parse_search({"query": "bread", "where": ["source=sea.md"], "fusion": "rrf"}))
    assert (one["searched"], one["fusion"], one["repeated"]) == (1, "rrf", 0)
    assert one["data"][0]["arms"]["hybrid"] == {"rank": 1, "score": 1 / 61}
    with pytest.raises(RequestError, match="no document has a `colour`"):
        search(deployment, parse_search({"query": "bread", "where": {"colour": "red"}}))


class Backwards:
    """A reranker that likes the last passage best."""

    def score(self, query: str, texts: list[str], user: str = "") -> Scored:
        return Scored(np.linspace(0.1, 0.9, len(texts)).astype(np.float32), len(texts))


def test_a_reranker_has_the_last_word_where_it_is_asked(deployment: Deployment) -> None:
    with pytest.raises(RequestError, match="no reranker"):
        search(deployment, parse_search({"query": "bread", "rerank": True}))
    second = RerankedSearch(deployment.searcher, Backwards(), RerankChoice(False, 2, 0.0))  # type: ignore[arg-type]
    deployment = replace(deployment, searcher=second)
    plain = search(deployment, parse_search({"query": "bread"}))
    asked = search(deployment, parse_search({"query": "bread", "rerank": True}))
    assert (plain["reranked"], plain["fitted"]["rerank"], asked["reranked"]) == (False, False, True)
    assert [one["source"] for one in asked["data"]] == [one["source"] for one in reversed(plain["data"])]
    assert asked["data"][0]["arm"] == "reranked" and asked["data"][0]["arms"]["hybrid"]["rank"] == 2


def test_an_empty_index_is_searched(deployment: Deployment) -> None:
    found = search(
        deployment, parse_search({"query": "bread", "where": {"language": "fr"}, "mmr": 0.5, "distinct": True})
    )
    assert (found["data"], found["searched"], found["corrections"]) == ([], 0, [])


def test_without_documents_there_is_nothing_to_search() -> None:
    bare = Deployment("d", None, SimpleNamespace(name="e"), None)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="no documents"):
        search(bare, parse_search({"query": "bread"}))
