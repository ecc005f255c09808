"""Search finds what is there, keeps to access lists in every arm, and takes any string as a query."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.types import ARMS, Chunk, Document
from genwerk.retrieval.search import Candidates, FusionChoice, Searcher, query_words

QUERIES = [
    "", "   ", '"', "'", '""" OR (', "NEAR(a b)", "text:bees*", "AND OR NOT", "-", "^bees",
    "🐝👩‍👩‍👧", "\x00", "bees\x00queen",
    "\ud83d", "{}[]()", "a" * 100_000, "word " * 4_000, "ﬀ ǆ İ ß", "1.5 10:30 -3", "%s %d", "'; DROP TABLE words; --",
]  # fmt: skip


@pytest.fixture
def searcher(make_index, topics, encoder) -> Searcher:  # type: ignore[no-untyped-def]
    return Searcher(make_index(topics), encoder)


def sources(searcher: Searcher, query: str, arm: str | None = None, **keys) -> list[str]:  # type: ignore[no-untyped-def]
    results = searcher.search(query, 20, arm, **keys)
    return [searcher.index.document(item.chunk.document_id).source for item in results]


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_finds_the_document(searcher: Searcher, arm: str) -> None:
    assert sources(searcher, "How long is the Elbe in kilometres?", arm)[0] == "rivers.md"
    assert sources(searcher, "When does the express train to Hamburg leave?", arm)[0] == "trains.md"


@pytest.mark.parametrize("arm", ARMS)
def test_access_lists_hold_in_every_arm(searcher: Searcher, arm: str) -> None:
    query = "queen bees in the hive collect nectar"
    assert "bees.md" not in sources(searcher, query, arm)
    assert "bees.md" not in sources(searcher, query, arm, groups=("bakers",))
    assert sources(searcher, query, arm, groups=("bakers", "keepers"))[0] == "bees.md"


@pytest.mark.parametrize("arm", ARMS)
def test_excluded_documents_are_not_found(searcher: Searcher, topics: list[Document], arm: str) -> None:
    rivers = next(document.id for document in topics if document.source == "rivers.md")
    assert "rivers.md" in sources(searcher, "rivers", arm)
    assert "rivers.md" not in sources(searcher, "rivers", arm, exclude=(rivers, "unknown"))


@pytest.mark.parametrize("query", QUERIES)
def test_any_string_is_a_query(searcher: Searcher, query: str) -> None:
    for arm in ARMS:
        for item in searcher.search(query, 5, arm):
            assert np.isfinite(item.score) and item.source == arm


def test_no_words_no_results_and_a_long_query_keeps_its_rare_words() -> None:
    assert query_words("what is the of") == ["what", "is", "the", "of"]
    assert query_words("what is the oven") == ["oven"]
    many = [f"w{n}" for n in range(100)] + ["extraordinarily"]
    assert len(query_words(" ".join(many))) == 64 and "extraordinarily" in query_words(" ".join(many))


def test_an_empty_question_finds_nothing_and_says_so(searcher: Searcher) -> None:
    found = searcher.look("  \n")
    assert found.results == () and found.signals.cosine == 0.0


def test_hybrid_is_the_convex_combination() -> None:
    first, second, third = chunks = tuple(Chunk("d", 10 * n, 10 * n + 10) for n in range(3))
    found = Candidates(chunks, np.array([1.0, 0.5, 0.0]), np.array([0.0, 1.0, 1.0]))
    assert found.ranked("hybrid", 0.25, 3) == [(second, 0.875), (third, 0.75), (first, 0.25)]
    assert [chunk for chunk, _ in found.ranked("hybrid", 1.0, 2)] == [first, second]
    assert [chunk for chunk, _ in found.ranked("hybrid", 0.0, 3)] == [second, third, first]  # equal ones in order


def test_dense_equals_brute_force_and_single_arms_equal_the_ends(searcher: Searcher, encoder) -> None:  # type: ignore[no-untyped-def]
    query = "dough and flour in the oven"
    everyone = {"groups": ("keepers",)}
    scores = searcher.index.vectors(searcher.index.view.rows.numbers) @ encoder.embed([query])[0]
    expected = [searcher.index.chunks[number] for number in np.argsort(-scores, kind="stable")[:5]]
    assert [item.chunk for item in searcher.search(query, 5, "dense", **everyone)] == expected
    only_words = Searcher(searcher.index, encoder, FusionChoice("hybrid", 0.0)).search(query, 3, **everyone)
    by_words = searcher.search(query, 3, "bm25", **everyone)
    n = min(len(by_words), 3)
    assert [item.chunk for item in only_words][:n] == [item.chunk for item in by_words][:n]


def test_signals_are_larger_where_the_answer_is(searcher: Searcher, topics: list[Document]) -> None:
    rivers = next(document.id for document in topics if document.source == "rivers.md")
    query = "How long is the Elbe in kilometres?"
    there, gone = searcher.look(query).signals, searcher.look(query, exclude=(rivers,)).signals
    assert there.cosine > gone.cosine and there.bm25 > gone.bm25 and there.coverage > gone.coverage
    assert there.coverage == pytest.approx(1.0)


def test_the_fitted_arm_is_the_default(searcher: Searcher, encoder) -> None:  # type: ignore[no-untyped-def]
    words = Searcher(searcher.index, encoder, FusionChoice("bm25", 0.4))
    assert {item.source for item in words.search("oven")} == {"bm25"}
    with pytest.raises(RequestError, match="arm"):
        words.search("oven", arm="splade")


def test_vectors_of_another_embedder_are_refused(searcher: Searcher) -> None:
    class Other:
        identity, dimension = "other", 48

        def embed(self, texts):  # type: ignore[no-untyped-def]
            raise AssertionError("must not be asked")

    with pytest.raises(WorkspaceError, match="another embedder"):
        Searcher(searcher.index, Other())  # type: ignore[arg-type]


def test_threads_find_the_same(searcher: Searcher) -> None:
    queries = ["oven", "Elbe ships", "bishop", "tickets to Hamburg"] * 10
    expected = [searcher.search(query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(searcher.search, queries)) == expected
