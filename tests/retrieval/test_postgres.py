"""An index in PostgreSQL: the results of a file, right with several writers, clear words when it cannot."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from local_postgres import LocalPostgres
from test_live_index import Stub, found_by, open_live

from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.types import Document
from genwerk.retrieval import derived
from genwerk.retrieval.building import Change, LiveIndex
from genwerk.retrieval.index import Index
from genwerk.retrieval.search import Searcher

module = pytest.importorskip("genwerk.retrieval.postgres", reason="no psycopg: pip install 'genwerk[postgres]'")
errors = pytest.importorskip("psycopg").errors


class Meanwhile(Stub):
    """Something happens once while this embeds."""

    def __init__(self, inner: object, event: Callable[[], object]) -> None:
        super().__init__(inner)
        self.event: Callable[[], object] | None = event

    def embed_batches(self, texts: list[str]) -> Iterator[tuple[list[int], np.ndarray]]:
        if self.event:
            event, self.event = self.event, None
            event()
        yield from super().embed_batches(texts)


@pytest.fixture
def url(
    postgres: LocalPostgres, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv("GENWERK_CACHE", str(tmp_path / "cache"))
    return postgres.url("own_" + "".join(letter for letter in request.node.name if letter.islower())[-50:])


@pytest.fixture
def embedder(encoder: object) -> Stub:
    return Stub(encoder)


def alter(live: LiveIndex, *statements: str) -> None:
    with live.store.writing() as (sql, change), change():
        for statement in statements:
            sql.execute(statement)


@pytest.mark.parametrize("extension", ["vector", "nowhere_to_be_had"])
def test_it_finds_what_a_file_finds(
    url: str, tmp_path: Path, topics: list[Document], embedder: Stub, extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_EXTENSION", extension)
    where = f"{url}_{extension[:3]}"
    for place in (where, tmp_path / "file"):
        live = open_live(place, embedder)
        live.sync(topics)
        live.sync([Document.create("bread.md", "Bread again.", acl=("bakers",))])
    for groups in ((), ("keepers",), ("bakers", "keepers")):
        assert found_by(where, embedder, groups) == found_by(tmp_path / "file", embedder, groups)


def test_pgvector_ranks_them_too(url: str, topics: list[Document], embedder: Stub) -> None:
    live = open_live(url, embedder)
    live.sync(topics)
    index = Index.open(url)
    with index.connection() as sql:
        query = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'vectors'::regclass AND atttypid = to_regtype(?)"
        if not sql.execute(query, ("public.halfvec",)).fetchone()[0]:
            pytest.skip("this server has no pgvector")
        asked = embedder.embed(["water and ships"])[0]
        literal = str(asked.tolist())
        order = f"vector OPERATOR(public.<=>) '{literal}'::public.vector::public.halfvec"
        nearest = sql.execute(f"SELECT chunk FROM vectors ORDER BY {order} LIMIT 1").fetchone()[0]
    rows, cosines = index.view.scan.top(asked, 3)
    assert index.view.rows.numbers[rows[np.argmax(cosines)]] == nearest


def test_writers_change_one_after_the_other(url: str, topics: list[Document], embedder: Stub) -> None:
    live, told = open_live(url, embedder), list[Change]()
    index = Index.open(url)
    writers = [
        Thread(target=lambda some=some: told.append(open_live(url, Stub(embedder.inner)).sync(some)))  # type: ignore[misc]
        for some in (topics, topics[:3], topics[2:], list(reversed(topics)))
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        index.refresh()
    for writer in writers:
        writer.join()
    index.refresh()
    assert sum(change.added for change in told) == 5 and sum(change.unchanged for change in told) == 11
    assert set(index.document_ids) == {document.id for document in topics}
    fresh = Index.open(url)
    assert np.array_equal(index.view.rows.numbers, fresh.view.rows.numbers)  # followed, it has missed nothing
    assert live.store.problems() == []


def test_who_waits_too_long_is_told(url: str, embedder: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    live = open_live(url, embedder)
    with live.store.writing() as (_, first), first(), pytest.raises(WorkspaceError, match="another writer holds"):
        monkeypatch.setattr(module, "_PATIENCE", "10ms")
        live.sync([Document.create("a.md", "Some text.")])
    assert live.sync([Document.create("a.md", "Some text.")]).added == 1


def test_what_another_did_while_this_one_embedded_counts(url: str, topics: list[Document], embedder: Stub) -> None:
    bread, bees = topics[0], topics[1]
    other = open_live(url, embedder)
    limit = Meanwhile(embedder.inner, lambda: other.sync([replace(bread, acl=("bakers",))]))
    assert open_live(url, limit).sync([bread], keep_limits=True).unchanged == 1
    older = Document.create(bees.source, "Fewer words.")
    edit = Meanwhile(embedder.inner, lambda: other.sync([older]))
    change = open_live(url, edit).sync([bees])
    assert (change.replaced, change.added) == (1, 0)
    index = Index.open(url)
    assert {index.document(identity).acl for identity in index.document_ids} == {("bakers",), ("keepers",)}
    assert older.id not in index.document_ids


def test_a_server_that_goes_and_comes(
    url: str, postgres: LocalPostgres, topics: list[Document], embedder: Stub
) -> None:
    open_live(url, embedder).sync(topics[:2])
    index = Index.open(url)
    searcher = Searcher(index, embedder)  # type: ignore[arg-type]
    found = searcher.search("bread")

    def crash() -> None:
        postgres.stop("immediate")
        with pytest.raises(WorkspaceError, match="cannot be reached"):
            searcher.search("bees")
        with pytest.raises(WorkspaceError, match="cannot be reached"):
            Index.open(url)
        postgres.start()

    with pytest.raises(WorkspaceError, match=r"cannot be reached.*what was begun and not finished is undone"):
        open_live(url, Meanwhile(embedder.inner, crash)).sync(topics)
    assert searcher.search("bread") == found and not index.refresh()
    assert open_live(url, embedder).sync(topics).added == 3 and index.refresh()


def test_a_disk_that_is_full_changes_nothing(url: str, topics: list[Document], embedder: Stub) -> None:
    live = open_live(url, embedder)
    live.sync(topics[:2])
    expected = found_by(url, embedder)
    full = "BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END"
    alter(
        live,
        f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $${full}$$",
        "CREATE TRIGGER full_disk BEFORE INSERT ON vectors FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    with pytest.raises(WorkspaceError, match=r"the disk of the database is full.*nothing was changed"):
        live.sync(topics)
    assert found_by(url, embedder) == expected


def test_what_is_no_index_is_refused(url: str, postgres: LocalPostgres, topics: list[Document], embedder: Stub) -> None:
    with pytest.raises(WorkspaceError, match="there is no index in this schema"):
        Index.open(url)
    live = open_live(url, embedder)
    alter(live, "UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(WorkspaceError, match="schema 99"):
        live.sync(topics)
    alter(live, "DELETE FROM meta WHERE key = 'schema_version'")
    with pytest.raises(WorkspaceError, match=r"is damaged: 'schema_version'.*DROP SCHEMA"):
        Index.open(url)
    alter(live, "ALTER TABLE meta RENAME TO something_else")
    with pytest.raises(WorkspaceError, match="holds tables that are no index"):
        open_live(url, embedder)
    with pytest.raises(WorkspaceError, match=r"'No\. 1' cannot be the schema"):
        Index.open(postgres.url("No. 1"))
    with pytest.raises(WorkspaceError, match=r"cannot be reached.*Check that it runs"):
        Index.open("postgresql:///postgres?host=/nowhere")


def test_a_reader_cannot_write_and_a_guest_not_read(
    url: str, postgres: LocalPostgres, topics: list[Document], embedder: Stub
) -> None:
    live = open_live(url, embedder)
    live.sync(topics)
    with pytest.raises(errors.ReadOnlySqlTransaction), Index.open(url).connection() as sql:
        sql.execute("DELETE FROM documents")
    alter(live, "CREATE ROLE guest LOGIN")
    guest = url.replace("user=owner", "user=guest")
    with pytest.raises(WorkspaceError, match="does not allow it"):
        Index.open(guest)
    with pytest.raises(WorkspaceError, match="does not allow it"):
        open_live(postgres.url("of_a_guest", "guest"), embedder)


def test_a_text_that_a_database_cannot_keep(url: str, embedder: Stub) -> None:
    with pytest.raises(DataError, match=r"PostgreSQL cannot keep this: .*NUL"):
        open_live(url, embedder).sync([Document.create("a.md", "Some \0 text.")])


def test_what_is_derived_lies_in_the_readers_cache(
    url: str, topics: list[Document], embedder: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = open_live(url, embedder)
    live.sync(topics)
    expected = found_by(url, embedder)
    assert not live.store.folder.exists()
    monkeypatch.setattr(derived, "_STALE_AT_LEAST", 1)
    assert found_by(url, embedder) == expected
    (folder,) = live.store.folder.glob("derived-*")
    assert live.store.folder.stat().st_mode & 0o077 == 0
    alter(live, f"DROP SCHEMA {live.store.schema} CASCADE")  # type: ignore[attr-defined]
    open_live(url, embedder).sync(reversed(topics))
    assert found_by(url, embedder) == expected and len(Index.open(url).view.parts[0]) > 0
    assert folder.exists()  # made anew, for the new index


def test_without_psycopg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "genwerk.retrieval.postgres")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(WorkspaceError, match=r"needs psycopg.*pip install 'genwerk\[postgres\]'"):
        Index.open("postgresql://db.example/team")


def test_a_password_is_never_shown() -> None:
    for url in ("postgresql://ada:p@s3cret@db.example/team", "postgres://db.example/team?user=ada&password=s3cret"):
        store: Any = module.PostgresStore(url)
        assert "s3cret" not in store.where and "s3cret" in store._url and store.schema == "genwerk"
