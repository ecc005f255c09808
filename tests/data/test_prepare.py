"""Preparing: bad files cost themselves and nothing else, and the same files give the same bytes."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from genwerk.core.errors import ConfigError, DataError
from genwerk.core.events import EventLog
from genwerk.core.hashing import tree_hashes
from genwerk.core.types import Document
from genwerk.core.workspace import Step, Workspace
from genwerk.data import readers, still_file
from genwerk.data.documents import load_documents
from genwerk.data.prepare import PrepareConfig, prepare
from genwerk.data.sources import source_fingerprint

GOOD = "# Pump care\n\nThe filter of the pump is cleaned every week with warm water.\n"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "good.md").write_text(GOOD)
    return folder


def run(tmp_path: Path, docs: Path, **settings: object) -> tuple[list[Document], dict[str, tuple[str, str]]]:
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    out.mkdir()
    prepare(PrepareConfig.parse({"sources": (str(docs),), **settings}), Step("x", out, out, EventLog(tmp_path)))
    entries = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    return load_documents(out), {entry["source"]: (entry["rule"], entry["detail"]) for entry in entries}


def test_a_document_carries_what_later_steps_need(tmp_path: Path, docs: Path) -> None:
    (document,), ledger = run(tmp_path, docs, license="CC0-1.0")
    assert (document.source, document.text) == ("docs/good.md", GOOD.strip("\n"))
    assert Document.create(document.source, document.text).sha256 == document.sha256
    assert {key: document.metadata[key] for key in ("title", "language", "split", "format", "license")} == {
        "title": "Pump care", "language": "en", "split": "train", "format": "markdown", "license": "CC0-1.0",
    }  # fmt: skip
    assert len(document.metadata["file_sha256"]) == 64
    assert ledger == {}


@pytest.mark.parametrize(
    ("name", "data", "rule", "detail"),
    [
        ("binary.txt", b"\x7fELF" + bytes(300), "binary content", "program"),
        ("zeros.txt", bytes(500), "binary content", "zero bytes"),
        ("empty.pdf", b"", "empty file", "zero bytes"),
        ("empty.txt", b"", "empty file", "zero bytes"),
        ("large.txt", b"x" * 3000, "too large", "data.max_file_bytes"),
        ("picture.png", b"\x89PNG", "needs text recognition", "data.ocr"),
        ("old.doc", b"x", "unsupported type", "save it as DOCX"),
        ("broken.jsonl", b"{nope\n", "invalid JSON", "property name"),
        ("small.txt", b"tiny", "too short", "min_chars"),
        ("copy.md", (GOOD + "\n").encode(), "duplicate", "docs/"),
        ("french.txt", "La pompe est nettoyée chaque semaine pour que l'eau reste toujours très propre.".encode(),
         "language", "fr"),
    ],
)  # fmt: skip
def test_a_bad_file_is_left_out_with_its_reason_and_the_rest_stays(
    tmp_path: Path, docs: Path, name: str, data: bytes, rule: str, detail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (docs / name).write_bytes(data)
    documents, ledger = run(tmp_path, docs, max_file_bytes=2000, languages=("en", "de"))
    assert len(documents) == 1
    dropped = next(entry for source, entry in ledger.items() if source.startswith("docs/"))
    assert dropped[0] == rule and detail in dropped[1]
    assert rule in capsys.readouterr().err


def test_broken_encodings_are_repaired_and_noted(tmp_path: Path, docs: Path) -> None:
    text = "Die Prüfung der Pumpe für das Gebäude erfolgt jährlich im März."
    (docs / "latin.txt").write_bytes(text.encode("cp1252"))
    (docs / "wide.txt").write_bytes((text + " Zweitens.").encode("utf-16"))
    (docs / "mojibake.txt").write_text((text + " Drittens.").encode().decode("latin-1"))
    documents, ledger = run(tmp_path, docs)
    assert sum(document.text.startswith(text) for document in documents) == 3
    assert ledger["docs/latin.txt"] == ("encoding", "not UTF-8, read as cp1252")
    assert ledger["docs/wide.txt"] == ("encoding", "read as utf-16-le")
    assert ledger["docs/mojibake.txt"] == ("mojibake", "1 lines mended")


def test_personal_data_is_masked_and_counted(tmp_path: Path, docs: Path) -> None:
    (docs / "good.md").write_text(GOOD + "\nAsk eva@example.org or ada@example.org, +49 30 1234567.\n")
    (document,), ledger = run(tmp_path, docs, redact=("email", "phone"))
    assert "Ask [email] or [email], [phone]." in document.text
    assert ledger["docs/good.md"][0] == "redacted"


def test_an_unreadable_file_is_named_with_the_remedy(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (docs / "locked.txt").write_text("nobody may read this text, it is locked away")

    def refuse(path: Path, options: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setitem(readers.READERS, ".txt", refuse)
    documents, ledger = run(tmp_path, docs)
    assert len(documents) == 1
    assert ledger["docs/locked.txt"] == ("unreadable", "Permission denied; check its permissions and its disk")
    assert "docs/locked.txt: unreadable" in capsys.readouterr().err


@pytest.mark.parametrize(("writes", "kept"), [(1, True), (2, False)])
def test_a_file_that_changes_is_read_once_more_then_left_out(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch, writes: int, kept: bool
) -> None:
    log = docs / "live.txt"
    log.write_text("The first line of a text that is still being written.\n")
    left = [writes]

    def read_while_written(path: Path, options: readers.ReadOptions) -> object:
        yield from readers.read_text(path, options)
        if left[0]:
            left[0] -= 1
            with path.open("a") as stream:
                stream.write("One more line has come in the meantime.\n")

    monkeypatch.setitem(readers.READERS, ".txt", read_while_written)
    documents, ledger = run(tmp_path, docs)
    assert any("One more line" in document.text for document in documents) == kept
    assert ("docs/live.txt" in ledger) != kept
    if not kept:
        assert ledger["docs/live.txt"][0] == "changed while read"


def test_a_file_that_vanishes_is_left_out(tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (docs / "gone.txt").write_text("This text will be gone before it is read by anyone.")
    monkeypatch.setattr(still_file, "sha256_file", lambda path: path.unlink() if path.suffix == ".txt" else "0" * 64)
    documents, ledger = run(tmp_path, docs)
    assert [document.source for document in documents] == ["docs/good.md"]
    assert ledger["docs/gone.txt"][0] == "unreadable"


def test_nothing_left_prints_the_counts_and_an_example(tmp_path: Path, docs: Path) -> None:
    (docs / "good.md").write_text("tiny")
    (docs / "b.png").write_bytes(b"\x89PNG")
    (docs / "c.txt").write_text("small")
    with pytest.raises(
        DataError, match=r"no document is left of 3 files \(2 too short, 1 needs text recognition"
    ) as error:
        run(tmp_path, docs)
    assert "Lower data.min_chars" in error.value.remedy


def test_an_unknown_language_and_a_wrong_kind_are_refused(tmp_path: Path, docs: Path) -> None:
    with pytest.raises(ConfigError, match="english"):
        run(tmp_path, docs, languages=("english",))
    with pytest.raises(ConfigError, match="redact"):
        run(tmp_path, docs, redact=("names",))


def test_records_get_a_source_of_their_own(tmp_path: Path, docs: Path) -> None:
    lines = [json.dumps({"text": f"Record number {n} has enough words to stay in the data.", "title": f"R{n}"})
             for n in range(3)]  # fmt: skip
    (docs / "r.jsonl").write_text("\n".join(lines))
    documents, _ = run(tmp_path, docs)
    assert [(d.source, d.metadata["title"]) for d in documents[1:]] == [
        (f"docs/r.jsonl#line {n + 1}", f"R{n}") for n in range(3)
    ]


def test_the_card_counts_what_the_dataset_holds(tmp_path: Path, docs: Path) -> None:
    (docs / "b.txt").write_text("Die Pumpe wird jede Woche mit warmem Wasser gereinigt und danach getrocknet.")
    (docs / "c.txt").write_text("tiny")
    out = tmp_path / "out"
    out.mkdir()
    metrics = prepare(PrepareConfig(sources=(str(docs),)), Step("x", out, out, EventLog(tmp_path)))
    card = json.loads((out / "card.json").read_text())
    documents = load_documents(out)
    assert card["documents"] == metrics["documents"] == len(documents) == 2
    assert card["characters"] == sum(len(document.text) for document in documents)
    assert set(card["by_language"]) == {"de", "en"} and set(card["by_suffix"]) == {"md", "txt"}
    assert set(card["by_split"]) == {"train", "heldout"}
    assert card["dropped"] == {"too short": 1}
    assert card["inputs"][0]["files"] == 3 and len(card["inputs"][0]["sha256"]) == 64
    shown = (out / "card.md").read_text()
    assert "| too short | 1 |" in shown and str(tmp_path) not in shown + json.dumps(card)


def test_the_same_files_give_the_same_bytes_elsewhere(tmp_path: Path, docs: Path) -> None:
    (docs / "b.txt").write_bytes("Größe der Pumpe: klein, aber für das Gebäude völlig ausreichend.".encode("cp1252"))
    hashes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        docs = docs.rename(tmp_path / name / "docs")
        out = tmp_path / f"out-{name}"
        out.mkdir()
        prepare(PrepareConfig(sources=(str(docs),)), Step("x", out, out, EventLog(tmp_path)))
        hashes.append(tree_hashes(out))
    assert hashes[0] == hashes[1]
    assert set(hashes[0]) == {"documents.jsonl", "ledger.jsonl", "card.json", "card.md"}


def test_the_workspace_finds_the_dataset_again_until_a_file_changes(tmp_path: Path, docs: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    config = PrepareConfig(sources=(str(docs),))
    first = workspace.step(prepare, config, source_fingerprint(config.sources), kind="dataset")
    assert workspace.step(prepare, config, source_fingerprint(config.sources), kind="dataset").id == first.id
    (docs / "good.md").write_text(GOOD + "\nEdited.\n")
    assert workspace.step(prepare, config, source_fingerprint(config.sources), kind="dataset").id != first.id


def test_a_damaged_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no documents in this dataset"):
        load_documents(tmp_path)
    (tmp_path / "documents.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(DataError, match="cannot be read"):
        load_documents(tmp_path)


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv"])
def test_a_200_mb_single_line_is_refused_in_little_memory(tmp_path: Path, docs: Path, suffix: str) -> None:
    with (docs / f"endless{suffix}").open("wb") as stream:
        stream.write(b"text, and more text ")
        for _ in range(200):
            stream.write(b"endless text " * 76_923)
    tracemalloc.start()
    documents, ledger = run(tmp_path, docs, max_file_bytes=5_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(documents) == 1
    assert [rule for rule, _ in ledger.values()] == ["too large"]
    assert peak < 60_000_000
