"""A filtered search is that of an index which holds nothing else, and nothing tells of what a reader may not see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genwerk.core.errors import RequestError
from genwerk.core.types import Chunk, Document
from genwerk.retrieval.index import Index
from genwerk.retrieval.search import Options, Searcher
from genwerk.retrieval.store import FILE_NAME, write_store
from genwerk.retrieval.where import EVERYTHING, Condition, Where, parse_pairs, parse_where

WORDS = [
    "bread",
    "breads",
    "bred",
    "oven",
    "ovens",
    "häuser",
    "haus",
    "houses",
    "tempfile",
    "template",
    "queen",
    "queens",
    "nectar",
    "sea",
    "rivers",
]
SPAN = {"from": "2024-02", "to": "2024"}


def make(folder: Path, documents: Sequence[Document], encoder: object) -> Index:
    folder.mkdir(parents=True)
    chunks = [Chunk(one.id, 0, len(one.text)) for one in documents]
    vectors = encoder.embed([one.text for one in documents]) if documents else np.zeros((0, 48))  # type: ignore[attr-defined]
    write_store(folder / FILE_NAME, documents, chunks, vectors, {"embedder": encoder.identity})  # type: ignore[attr-defined]
    return Index.open(folder)


@st.composite
def collections(draw: st.DrawFn) -> list[Document]:
    texts = draw(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5), min_size=1, max_size=9))
    documents = []
    for number, words in enumerate(texts):
        about = {"language": draw(st.sampled_from(["en", "de"])), "date": f"202{draw(st.integers(3, 5))}-0{number + 1}"}
        acl = draw(st.sampled_from([(), ("cooks",), ("pilots",)]))
        source = f"{draw(st.sampled_from(['a', 'b/c']))}/{number}.{draw(st.sampled_from(['md', 'pdf']))}"
        documents.append(Document.create(source, " ".join(words), acl=acl, metadata=about))
    return documents


FILTERS = [
    {}, {"language": "de"}, {"language": "en", "format": ["md"]}, {"source": "b/"}, {"source": "*.md"},
    {"date": SPAN, "format": ["pdf", "md"]},
]  # fmt: skip


@given(
    documents=collections(), where=st.sampled_from(FILTERS), groups=st.sampled_from([(), ("cooks",)]),
    query=st.lists(st.sampled_from([*WORDS, "nectra", "ovne", "tmepfile", "tem", "riv"]), min_size=1, max_size=3),
    options=st.sampled_from([Options(), Options(spelling=True), Options(mmr=0.5, distinct=True, fusion="rrf")]),
)  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_that_of_an_index_of_what_is_meant_and_may_be_seen(
    documents: list[Document], where: dict[str, object], groups: tuple[str, ...], query: list[str], options: Options,
    encoder: object,
) -> None:  # fmt: skip
    meant = parse_where(where)
    seen = [one for one in documents if not one.acl or set(one.acl) & set(groups)]
    kept = [one for one in seen if all(condition.holds(known(one)[condition.key]) for condition in meant.conditions)]
    asked = Options(meant, options.fusion, None, options.mmr, options.distinct, options.spelling)
    with TemporaryDirectory() as folder:
        whole, alone = (
            make(Path(folder) / name, held, encoder) for name, held in (("whole", documents), ("alone", kept))
        )
        for arm in ("bm25", "dense", "hybrid"):
            try:
                found = Searcher(whole, encoder).look(" ".join(query), 9, arm, groups=groups, options=asked)  # type: ignore[arg-type]
            except RequestError as error:
                assert error.code == "unknown_key" and not seen
                continue
            assert found == Searcher(alone, encoder).look(" ".join(query), 9, arm, groups=groups, options=options)  # type: ignore[arg-type]
        whole.close()
        alone.close()


def known(document: Document) -> dict[str, str]:
    return {**document.metadata, "source": document.source, "format": document.source.rsplit(".", 1)[1]}


@pytest.mark.parametrize(
    ("pairs", "value"),
    [
        (["language=de", "language=en"], {"language": ["de", "en"]}),
        (["source=docs/"], {"source": "docs/"}),
        (["date=2024-02..2024"], {"date": SPAN}),
        (["date=..2024-03-31"], {"date": {"to": "2024-03-31"}}),
        (["title=a..b"], {"title": "a..b"}),
    ],
)
def test_pairs_and_json_say_the_same(pairs: list[str], value: object) -> None:
    assert parse_pairs(pairs) == parse_where(value) == parse_where(pairs) and parse_where(value)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (3, "it is 3"), ({"a": 1}, "it is 1"), ({"a": []}, r"it is \[\]"), ({"a": {}}, "it is {}"),
        ({"a": {"from": "May"}}, "'May' is no date"), ({"a": {"since": "2024"}}, "since"), (["a"], "it is 'a'"),
        (["a=2024..2025", "a=2026"], "a second time"), (["a=2026", "a=2024..2025"], "a second time"),
        ({"": [3]}, "where"),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_named(value: object, what: str) -> None:
    with pytest.raises(RequestError, match=what) as caught:
        parse_where(value)
    assert caught.value.param == "where" and caught.value.remedy


@pytest.mark.parametrize(
    ("condition", "holds", "fails"),
    [
        (Condition("source", ("docs",)), ["docs", "docs/a.md"], ["docs2/a.md", ""]),
        (Condition("source", ("*/a?.md",)), ["x/y/ab.md"], ["x/abc.md"]),
        (Condition("language", ("DE",)), ["de"], ["den", ""]),
        (Condition("date", (), "2024-02", "2024"), ["2024-02-01", "2024-12-31T10:00"], ["2024-01", "2025", "soon", ""]),
    ],
)
def test_conditions_on_paper(condition: Condition, holds: list[str], fails: list[str]) -> None:
    assert all(map(condition.holds, holds)) and not any(map(condition.holds, fails))


def test_an_unknown_key_is_refused_beside_those_that_the_reader_has(tmp_path: Path, encoder: object) -> None:
    documents = [
        Document.create("a.md", "bread", metadata={"author": "Ada"}),
        Document.create("b.md", "oven", acl=("cooks",), metadata={"salary": "9"}),
    ]
    index = make(tmp_path / "index", documents, encoder)
    with pytest.raises(RequestError, match="Did you mean `author`") as caught:
        index.view.words(where=parse_where({"autor": "Ada"}))
    assert "salary" not in str(caught.value)
    with pytest.raises(RequestError, match="no document has a `salary`"):
        index.view.words(where=parse_where({"salary": "9"}))
    assert index.view.words(["cooks"], where=parse_where({"salary": "9"})).n_rows == 1
    assert index.view.words(where=parse_where({"language": "fr"})).n_rows == 0
    assert Where() == EVERYTHING and not EVERYTHING
    index.close()
