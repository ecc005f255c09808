"""The index is the same bytes each time, survives a kill, says when it is damaged, and serves any number of threads."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from genwerk.core.errors import DataError, WorkspaceError
from genwerk.core.types import Document
from genwerk.retrieval import building as index_module
from genwerk.retrieval.building import IndexConfig, build_index
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.index import Index
from genwerk.retrieval.store import FILE_NAME


def dataset_of(path: Path, documents: list[Document]) -> SimpleNamespace:
    """What `build_index` needs of a dataset artifact."""
    path.mkdir(exist_ok=True)
    lines = [
        json.dumps(
            {
                "id": d.id, "source": d.source, "sha256": d.sha256, "acl": d.acl, "metadata": dict(d.metadata),
                "text": d.text,
            }
        )
        for d in documents
    ]  # fmt: skip
    (path / "documents.jsonl").write_text("".join(line + "\n" for line in lines))
    return SimpleNamespace(path=path, content_sha256="of-the-dataset")


def build(tmp_path: Path, name: str, dataset: SimpleNamespace, encoder_dir: Path, scratch: Path | None = None) -> Path:
    out, scratch = tmp_path / name, scratch or tmp_path / f"{name}-scratch"
    out.mkdir()
    scratch.mkdir(exist_ok=True)
    step = SimpleNamespace(out=out, scratch=scratch)
    build_index(IndexConfig(max_chars=80, min_chars=20), step, dataset, SimpleNamespace(path=encoder_dir, kind="bert"))  # type: ignore[arg-type]
    return out / FILE_NAME


@pytest.fixture
def dataset(tmp_path: Path, topics: list[Document]) -> SimpleNamespace:
    return dataset_of(tmp_path / "dataset", topics)


def test_same_input_same_bytes(tmp_path: Path, dataset: SimpleNamespace, tiny_encoder_dir: Path) -> None:
    first = build(tmp_path, "one", dataset, tiny_encoder_dir).read_bytes()
    assert build(tmp_path, "two", dataset, tiny_encoder_dir).read_bytes() == first


def test_what_is_read_is_what_was_written(
    tmp_path: Path, dataset: SimpleNamespace, tiny_encoder_dir: Path, topics: list[Document]
) -> None:
    index = Index.open(build(tmp_path, "one", dataset, tiny_encoder_dir).parent)
    assert index.meta["dataset_sha256"] == "of-the-dataset"
    assert index.meta["embedder"] == Embedder.load(tiny_encoder_dir).identity
    for document in topics:
        assert index.document(document.id) == document
        own = [chunk for chunk in index.chunks if chunk.document_id == document.id]
        assert "".join(index.chunk_text(chunk) for chunk in own) == document.text
    vectors = Embedder.load(tiny_encoder_dir).embed([index.chunk_text(chunk) for chunk in index.chunks])
    assert np.abs(vectors - index.vectors(index.view.rows.numbers)).max() < 5e-4  # float16


def test_killed_and_resumed_equals_never_killed(
    tmp_path: Path, dataset: SimpleNamespace, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_CHECKPOINT_CHUNKS", 3)
    undisturbed = build(tmp_path, "whole", dataset, tiny_encoder_dir).read_bytes()
    embedded: list[int] = []
    real = Embedder.embed_batches

    def dying(self: Embedder, sequences: list[list[int]], **keys: int) -> Iterator[tuple[list[int], np.ndarray]]:
        if len(embedded) == 2:
            raise KeyboardInterrupt
        embedded.append(len(sequences))
        yield from real(self, sequences, **keys)

    scratch = tmp_path / "scratch"
    monkeypatch.setattr(Embedder, "embed_batches", dying)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, "killed", dataset, tiny_encoder_dir, scratch)
    assert len(list(scratch.glob("vectors-*"))) == 2
    counted: list[int] = []

    def counting(self: Embedder, sequences: list[list[int]], **keys: int) -> Iterator[tuple[list[int], np.ndarray]]:
        counted.append(len(sequences))
        yield from real(self, sequences, **keys)

    monkeypatch.setattr(Embedder, "embed_batches", counting)
    resumed = build(tmp_path, "resumed", dataset, tiny_encoder_dir, scratch).read_bytes()
    assert resumed == undisturbed
    assert sum(counted) == len(Index.open(tmp_path / "whole").chunks) - 6


def test_no_text_and_text_that_is_none_are_refused(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    empty = dataset_of(tmp_path / "empty", [Document.create("a.txt", "")])
    with pytest.raises(DataError, match="nothing to index"):
        build(tmp_path, "one", empty, tiny_encoder_dir)
    half = dataset_of(tmp_path / "half", [Document.create("half.txt", "fine until \ud83d here")])
    with pytest.raises(DataError, match=r"half\.txt holds a character that is no text \(position 11\)"):
        build(tmp_path, "two", half, tiny_encoder_dir)


@pytest.mark.parametrize("damage", ["truncated", "zeroed", "text", "empty", "vector", "schema"])
def test_a_damaged_file_is_named_with_its_remedy(make_index, topics: list[Document], damage: str) -> None:  # type: ignore[no-untyped-def]
    path = Path(make_index(topics).where)
    data = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "zeroed":
        path.write_bytes(data[:8192] + bytes(len(data) - 8192))
    elif damage == "text":
        path.write_text("this is no database, whatever its name says")
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        with sqlite3.connect(path) as connection:
            if damage == "vector":
                connection.execute("UPDATE vectors SET vector = x'00' WHERE chunk = 1")
            else:
                connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
        connection.close()
    with pytest.raises(WorkspaceError) as caught:
        Index.open(path)
    assert str(path) in str(caught.value) and "recipe again" in str(caught.value)


def test_a_missing_file_and_an_unknown_document_are_named(make_index, topics: list[Document], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WorkspaceError, match="no index file"):
        Index.open(tmp_path / "nowhere")
    with pytest.raises(WorkspaceError, match="0123 is not in the index"):
        make_index(topics).document("0123")


def test_opening_writes_nothing_and_takes_no_lock(make_index, topics: list[Document]) -> None:  # type: ignore[no-untyped-def]
    index = make_index(topics)
    path = Path(index.where)
    before = path.read_bytes()
    path.chmod(0o444)
    assert Index.open(path).document_ids == index.document_ids
    with index.connection() as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM documents")
    assert path.read_bytes() == before
    assert sorted(path.name for path in index.folder.iterdir()) == [FILE_NAME]


def test_one_that_never_changes_is_not_asked_for_its_state(make_index, topics: list[Document]) -> None:  # type: ignore[no-untyped-def]
    index = make_index(topics)
    before = index.state
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(index, "connection", lambda: pytest.fail("a statement"))
        assert index.following(lambda: index.state) == before and not index.refresh()


def test_many_threads_read_the_same(make_index, topics: list[Document]) -> None:  # type: ignore[no-untyped-def]
    index = make_index(topics)
    expected = [index.chunk_text(chunk) for chunk in index.chunks]
    index.document.cache_clear()

    def read(_: int) -> list[str]:
        index.document.cache_clear()
        return [index.chunk_text(chunk) for chunk in index.chunks]

    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(read, range(40)))


def test_the_same_document_twice_is_refused(make_index, topics: list[Document]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="once"):
        make_index([topics[0], topics[0]])
