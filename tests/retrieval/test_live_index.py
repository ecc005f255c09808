"""A living index: in step with its documents, the same as one built anew, whole after a kill at any moment."""

from __future__ import annotations

import json
import os
import secrets
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_postgres import Place

from genwerk.core.errors import WorkspaceError
from genwerk.core.lock import hold
from genwerk.core.types import Document
from genwerk.retrieval import building, derived
from genwerk.retrieval.building import IndexConfig, LiveIndex
from genwerk.retrieval.derived import derive
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.held import Held
from genwerk.retrieval.index import Index
from genwerk.retrieval.search import Searcher
from genwerk.retrieval.store import FILE_NAME
from genwerk.retrieval.stores import open_store
from genwerk.retrieval.writer import Writer

CONFIG = IndexConfig(max_chars=80, min_chars=20)


class Stub:
    """An embedder that counts what it embeds: BagOfStems with the methods of a real one."""

    name, window = "stub", 64

    def __init__(self, inner: object) -> None:
        self.inner, self.embedded = inner, 0
        self.identity, self.dimension = inner.identity, inner.dimension  # type: ignore[attr-defined]

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) + 2 for text in texts]

    def tokenize(self, texts: list[str]) -> list[str]:
        return list(texts)

    def embed_batches(self, texts: list[str]) -> Iterator[tuple[list[int], np.ndarray]]:
        self.embedded += len(texts)
        if texts:
            yield list(range(len(texts))), self.embed(texts)

    def embed(self, texts: list[str]) -> np.ndarray:
        return self.inner.embed(texts)  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def embedder(encoder: object) -> Stub:
    return Stub(encoder)


def open_live(where: Path | str, embedder: Stub) -> LiveIndex:
    return LiveIndex(where, embedder, CONFIG)  # type: ignore[arg-type]


def found_by(where: Path | str, embedder: Stub, groups: tuple[str, ...] = ()) -> list[object]:
    """Everything that a reader can learn: what questions find, with scores and signals."""
    index = Index.open(where)
    found = found_in(index, embedder, groups)
    index.close()
    return found


def found_in(index: Index, embedder: Stub, groups: tuple[str, ...]) -> list[object]:
    searcher = Searcher(index, embedder)  # type: ignore[arg-type]
    asked = ["bread oven", "how many bees", "train to Hamburg", "water", "the queen in check", "nothing like it"]
    found = [searcher.look(query, 5, arm, groups=groups) for query in asked for arm in ("bm25", "dense", "hybrid")]
    return [*found, [index.view.words(groups).count(term) for term in ("bread", "water", "the")]]


def test_added_one_by_one_is_built_at_once(place: Place, topics: list[Document], embedder: Stub) -> None:
    for document in reversed(topics):
        open_live(place("one"), embedder).sync([document])
    open_live(place("all"), embedder).sync(topics)
    for groups in ((), ("keepers",)):
        assert found_by(place("one"), embedder, groups) == found_by(place("all"), embedder, groups)


def test_only_what_changed_is_embedded(place: Place, topics: list[Document], embedder: Stub) -> None:
    live = open_live(place("one"), embedder)
    assert live.sync(topics).added == 5
    once = embedder.embedded
    change = live.sync(topics)
    assert (change.unchanged, embedder.embedded) == (5, once)
    moved = Document.create("moved/bread.md", topics[0].text)
    change = live.sync([moved, *topics[1:]], prune=True)
    assert (change.added, change.removed, change.embedded, embedder.embedded) == (1, 1, 0, once)
    edited = Document.create(topics[1].source, topics[1].text + "\n\nHoney keeps for years.\n", acl=topics[1].acl)
    change = live.sync([edited])
    assert (change.replaced, change.added) == (1, 0) and 1 <= change.embedded <= 2 <= change.reused + 1
    assert Index.open(place("one")).document(edited.id).text.endswith("for years.\n")
    assert topics[1].id not in Index.open(place("one")).document_ids


def test_under_headers_the_same_text_of_another_title_is_embedded_anew(
    place: Place, topics: list[Document], embedder: Stub
) -> None:
    config = IndexConfig(max_chars=80, min_chars=20, headers=True)
    live = LiveIndex(place("one"), embedder, config)  # type: ignore[arg-type]
    live.sync(topics)
    moved = [replace(one, metadata={"title": f"Everything about chapter {one.id}"}) for one in topics]
    change = live.sync(moved)
    assert change.replaced == 5 and change.reused == 0 < change.embedded
    LiveIndex(place("anew"), embedder, config).sync(moved)  # type: ignore[arg-type]
    assert found_by(place("one"), embedder) == found_by(place("anew"), embedder)
    open_live(place("bare"), embedder).sync(moved)
    assert found_by(place("one"), embedder) != found_by(place("bare"), embedder)
    assert open_store(place("one")).problems() == []
    with pytest.raises(WorkspaceError, match="another chunking"):
        open_live(place("one"), embedder).sync(moved)


def test_an_access_list_that_changes_takes_effect(place: Place, topics: list[Document], embedder: Stub) -> None:
    live = open_live(place("one"), embedder)
    live.sync(topics)
    index = Index.open(place("one"))
    searcher = Searcher(index, embedder)  # type: ignore[arg-type]
    assert any("Bread" in index.chunk_text(item.chunk) for item in searcher.search("bread"))
    once = embedder.embedded
    assert live.sync([replace(topics[0], acl=("bakers",))]).replaced == 1 and embedder.embedded == once
    assert index.refresh() and not index.refresh()
    assert not any(index.document(item.chunk.document_id).acl for item in searcher.search("bread"))
    assert not index.may_see(topics[0].id) and index.may_see(topics[0].id, ["bakers"])
    index.close()


def test_what_is_open_follows(place: Place, topics: list[Document], embedder: Stub) -> None:
    live = open_live(place("followed"), embedder)
    live.sync(topics[:1])
    index = Index.open(place("followed"))
    searcher = Searcher(index, embedder)  # type: ignore[arg-type]
    for number in range(40):  # more parts than are kept apart
        live.sync([topics[1 + number % 4]] if number % 3 else [])
        if number % 3 == 2:
            live.remove([topics[1 + number % 4].source])
        index.refresh()
    live.sync(topics)
    index.refresh()
    open_live(place("new"), embedder).sync(topics)
    fresh = Index.open(place("new"))
    for query in ("bread", "water locks", "bees queen"):
        assert searcher.look(query) == Searcher(fresh, embedder).look(query)  # type: ignore[arg-type]
    assert set(index.document_ids) == set(fresh.document_ids)
    sizes = [len(part) for part in index.view.parts]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) < 8, "parts in memory are put together as they grow"
    index.close()
    fresh.close()


@pytest.mark.parametrize("meanwhile", [True, False], ids=["others change it meanwhile", "nobody does"])
def test_who_follows_for_long_goes_over_to_what_is_derived(
    place: Place, topics: list[Document], embedder: Stub, monkeypatch: pytest.MonkeyPatch, meanwhile: bool
) -> None:
    live = open_live(place("followed"), embedder)
    live.sync(topics)
    index = Index.open(place("followed"))
    before = index.view
    for number in range(6):  # as it is edited for weeks: each time other chunks, and those of before are gone
        live.sync([Document.create(topics[0].source, f"{topics[0].text}\n\nBaked {number} times.")])
        index.refresh()
    assert len(index.view.chunks) > len(before.chunks)
    monkeypatch.setattr(derived, "_STALE_AT_LEAST", 1)
    start = Held.start_from

    def slowly(*given: Any) -> None:
        start(*given)
        if meanwhile:
            live.remove([topics[1].source])
            index.refresh()

    monkeypatch.setattr(Held, "start_from", slowly)
    live.sync(topics[:1])
    assert index.refresh()
    index.close()  # when the thread is done
    assert len(list(index.folder.glob("derived-*"))) == 1
    assert len(index.view.chunks) <= len(before.chunks), "what has gone is forgotten"
    assert meanwhile == (topics[1].id not in index.document_ids)
    assert len(before.rows.numbers) == len(before.chunks), "whoever searches in the old view has it whole"
    monkeypatch.undo()
    fresh = Index.open(place("followed"))
    assert index.state == fresh.state
    for query in ("bread oven", "baked times", "bees queen"):
        assert Searcher(index, embedder).look(query) == Searcher(fresh, embedder).look(query)  # type: ignore[arg-type]
    index.close()
    fresh.close()


def test_what_cannot_be_derived_stays_in_memory_and_is_said(
    place: Place,
    topics: list[Document],
    embedder: Stub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    live = open_live(place("followed"), embedder)
    live.sync(topics[:2])
    index = Index.open(place("followed"))
    live.sync(topics)
    monkeypatch.setattr(derived, "_STALE_AT_LEAST", 1)
    monkeypatch.setattr(index, "_begin", lambda beyond: (_ for _ in ()).throw(WorkspaceError("no room")))
    if live.store.shared:
        monkeypatch.setattr(derived, "derive", lambda store: None)
    assert index.refresh()
    index.close()
    assert "held in memory, and tried again: no room" in " ".join(capsys.readouterr().err.split())
    assert set(index.document_ids) == {document.id for document in topics}


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "edit", "limit", "remove", "rename", "derive"]), st.integers(0, 4)), max_size=10
)


def test_whatever_was_done_it_is_as_built_anew(place: Place, topics: list[Document], embedder: Stub) -> None:
    @given(steps=STEPS)
    @settings(max_examples=20 if isinstance(place(""), Path) else 5, deadline=None)
    def check(steps: list[tuple[str, int]]) -> None:
        own = secrets.token_hex(4)
        live = open_live(place(f"live_{own}"), embedder)
        follower = Index.open(place(f"live_{own}"))
        held = do(steps, live, topics, follower)
        open_live(place(f"new_{own}"), embedder).sync(held)
        for groups in ((), ("keepers",), ("somebody",)):
            found = [found_by(place(f"{name}_{own}"), embedder, groups) for name in ("live", "new")]
            assert found[0] == found[1] == found_in(follower, embedder, groups)
        follower.close()
        assert live.store.problems() == []

    check()


def do(steps: list[tuple[str, int]], live: LiveIndex, topics: list[Document], follower: Index) -> list[Document]:
    """Take the steps on an index of the first two topics, each followed; the documents that it holds then."""
    held = {document.source: document for document in topics[:2]}
    live.sync(held.values())
    for action, number in steps:
        follower.refresh()
        document = topics[number]
        if action == "derive":
            derive(live.store)
        elif action == "remove":
            if held.pop(document.source, None):
                live.remove([document.source])
        else:
            if action == "edit":
                document = Document.create(document.source, document.text + f"\nAnd {number} more.", acl=document.acl)
            elif action == "limit":
                document = replace(document, acl=("somebody",))
            elif action == "rename":
                document = Document.create(f"copy-{document.source}", document.text, acl=document.acl)
            held[document.source] = document
            live.sync([document])
    follower.refresh()
    return list(held.values())


def sync_and_die(step: int, where: Path | str, documents: list[Document], embedder: Stub) -> int:
    """Bring an index in step in another process, which is killed before its `step`-th step; its exit code."""
    if (pid := os.fork()) == 0:
        left, code = step, 1

        def dying(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **keys: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os._exit(9)
                return real(*arguments, **keys)

            return call

        try:
            for name in ("add", "remove", "vectors_of"):
                setattr(Writer, name, dying(getattr(Writer, name)))
            derived.derive, derived.save_postings = dying(derived.derive), dying(derived.save_postings)
            derived._STALE_AT_LEAST, building._CHECKPOINT_CHUNKS = 1, 2
            open_live(where, embedder).sync(documents, prune=True)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("step", range(1, 26, 3))
def test_killed_at_any_step_and_done_again(step: int, place: Place, topics: list[Document], embedder: Stub) -> None:
    live = open_live(place("killed"), embedder)
    live.sync([*topics[:3], Document.create("old.md", "An old text that is to go.")])
    wanted = [Document.create(document.source, document.text + "\nNew words.") for document in topics]
    assert sync_and_die(step, place("killed"), wanted, embedder) in (9, 0)
    assert live.store.problems() == []
    found_by(place("killed"), embedder)  # it can be searched as it is
    open_live(place("killed"), embedder).sync(wanted, prune=True)
    open_live(place("new"), embedder).sync(wanted)
    assert found_by(place("killed"), embedder) == found_by(place("new"), embedder)


def test_what_is_derived_can_be_deleted_damaged_and_made_again(
    place: Place, topics: list[Document], embedder: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    where = place("one")
    live = open_live(where, embedder)
    live.sync(topics)
    expected = found_by(where, embedder)
    folder = derive(live.store)
    assert found_by(where, embedder) == expected
    for name in ("bytes.npy", "rows.npy", "numbers.npy"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        assert found_by(where, embedder) == expected
        assert "is damaged" in capsys.readouterr().err
        (folder / name).write_bytes(whole)
    (folder / "made.json").write_text("{")
    assert found_by(where, embedder) == expected
    live.sync([], prune=True)
    assert found_by(where, embedder)[-1] == [0, 0, 0]


def test_another_embedder_and_another_cutting_are_refused(place: Place, topics: list[Document], embedder: Stub) -> None:
    open_live(place("one"), embedder).sync(topics)
    with pytest.raises(WorkspaceError, match="another chunking"):
        LiveIndex(place("one"), embedder, IndexConfig(max_chars=500)).sync(topics)  # type: ignore[arg-type]
    embedder.identity = "another"
    with pytest.raises(WorkspaceError, match="another embedder"):
        open_live(place("one"), embedder).sync(topics)


def test_a_second_process_that_changes_a_file_is_refused(
    tmp_path: Path, topics: list[Document], embedder: Stub
) -> None:
    live = open_live(tmp_path, embedder)
    with (
        hold(tmp_path / "index.lock", wait=0, busy=lambda holder: WorkspaceError(str(holder))),
        pytest.raises(WorkspaceError, match="is being changed by process"),
    ):
        live.sync(topics)


def test_a_text_is_not_opened_by_another_name_unless_somebody_says_so(
    place: Place, topics: list[Document], embedder: Stub
) -> None:
    live = open_live(place("one"), embedder)
    live.sync([replace(topics[0], acl=("bakers",))])
    copy = Document.create("copy.md", topics[0].text)
    assert live.sync([topics[0]], keep_limits=True).unchanged == 1
    live.sync([copy, Document.create(topics[0].source, "Other words in its place.")], keep_limits=True)
    index = Index.open(place("one"))
    assert [index.document(identity).acl for identity in index.document_ids] == [("bakers",)] * 2
    moved = [Document.create(source, text) for source, text in (("copy.md", "Another."), ("new.md", topics[0].text))]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(building, "_CHECKPOINT_CHUNKS", 1)  # the old place of the text is gone before the new one comes
        live.sync(moved, keep_limits=True)
    assert index.refresh() and {index.document(identity).acl for identity in index.document_ids} == {("bakers",)}
    assert live.sync([copy]).replaced == 1 and index.refresh() and index.document(copy.id).acl == ()


def test_what_is_not_there_cannot_be_removed(place: Place, topics: list[Document], embedder: Stub) -> None:
    live = open_live(place("one"), embedder)
    live.sync(topics)
    with pytest.raises(WorkspaceError, match=r"not in the index: nowhere\.md"):
        live.remove([topics[0].source, "nowhere.md"])
    assert len(Index.open(place("one")).document_ids) == 5
    assert live.remove([topics[0].id]).removed == 1


def test_a_disk_that_fills_up_changes_nothing(
    tmp_path: Path, topics: list[Document], embedder: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = open_live(tmp_path, embedder)
    live.sync(topics[:2])
    expected = found_by(tmp_path, embedder)
    real = Writer.__init__

    def small(self: Writer, sql: Any, *rest: Any) -> None:
        real(self, sql, *rest)
        pages = sql.execute("PRAGMA page_count").fetchone()[0]
        sql.execute(f"PRAGMA max_page_count = {pages}")

    long = Document.create("long.md", "\n\n".join(f"Paragraph {number} of a long text." for number in range(2000)))
    with monkeypatch.context() as patched:
        patched.setattr(Writer, "__init__", small)
        with pytest.raises(WorkspaceError, match="full"):
            live.sync([long])
    assert found_by(tmp_path, embedder) == expected
    live.sync([long])
    assert long.id in Index.open(tmp_path).document_ids


@pytest.mark.parametrize("damage", ["text", "vector", "digest"])
def test_a_check_finds_what_was_changed_behind_its_back(
    place: Place, topics: list[Document], embedder: Stub, damage: str
) -> None:
    live = open_live(place("one"), embedder)
    live.sync(topics)
    with live.store.writing() as (sql, change), change():
        sql.execute(
            {
                "text": "UPDATE documents SET text = replace(text, 'water', 'cider') WHERE number = 1",
                "vector": "DELETE FROM vectors WHERE chunk = 2",
                "digest": "UPDATE chunks SET stop = stop - 1 WHERE number = 2",
            }[damage]
        )
    assert len(live.store.problems()) == 1


def test_the_step_of_a_recipe_writes_what_is_derived_too(
    tmp_path: Path, topics: list[Document], tiny_encoder_dir: Path
) -> None:
    (tmp_path / "data").mkdir()
    keys = ("id", "source", "sha256", "acl", "text")
    lines = [json.dumps({**{key: getattr(one, key) for key in keys}, "metadata": {}}) + "\n" for one in topics]
    (tmp_path / "data" / "documents.jsonl").write_text("".join(lines))
    step = SimpleNamespace(out=tmp_path / "out", scratch=tmp_path)
    step.out.mkdir()
    dataset = SimpleNamespace(path=tmp_path / "data", content_sha256="of-the-dataset")
    building.build_index(CONFIG, step, dataset, SimpleNamespace(path=tiny_encoder_dir, kind="bert"))  # type: ignore[arg-type]
    index = Index.open(step.out)
    assert len(index.view.parts) == 1 and len(index.view.parts[0]) == len(index.chunks) > 0
    assert Embedder.load(tiny_encoder_dir).identity == index.meta["embedder"]


def test_an_index_of_a_run_is_never_changed(make_index, tmp_path: Path, topics: list[Document], embedder: Stub) -> None:  # type: ignore[no-untyped-def]
    make_index(topics)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(WorkspaceError, match="never changed"):
        open_live(tmp_path, embedder).sync(topics[:1], prune=True)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_what_was_opened_before_the_first_change_follows(place: Place, topics: list[Document], embedder: Stub) -> None:
    live = open_live(place("one"), embedder)
    index = Index.open(place("one"))
    assert len(index.chunks) == 0 and Searcher(index, embedder).search("bread") == []  # type: ignore[arg-type]
    live.sync(topics)
    assert index.refresh() and len(index.document_ids) == 5
    index.close()
