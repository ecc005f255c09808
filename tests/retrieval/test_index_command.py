"""`genwerk index` from files to passages with their page, on real formats."""

from __future__ import annotations

from pathlib import Path

import pytest
from fpdf import FPDF
from local_postgres import Place
from typer.testing import CliRunner

from genwerk.cli import app
from genwerk.core.errors import GenwerkError
from genwerk.metrics.bootstrap import Interval
from genwerk.models.cross_encoder import new_cross_encoder, save_cross_encoder
from genwerk.recipe import Recipe
from genwerk.retrieval.index import Index
from genwerk.retrieval.index_config import IndexConfig
from genwerk.retrieval.reranked import Reranking
from genwerk.retrieval.reranking import Reranker


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["index", *map(str, arguments)], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "pump.md").write_text("# Pump\n\nThe pump is reset by holding the red button for five seconds.\n")
    (docs / "staff.html").write_text("<h1>Staff</h1><p>Only trained staff may open the housing of the machine.</p>")
    pdf = FPDF()
    for text in ("The relief valve opens above twelve bar of pressure.", "Oil is changed every two years in winter."):
        pdf.add_page()
        pdf.set_font("Helvetica", size=12)
        pdf.multi_cell(0, 8, text)
    pdf.output(str(docs / "manual.pdf"))
    return docs


def test_build_add_search_remove(folder: Path, place: Place, tiny_encoder_dir: Path) -> None:
    index = place("index")
    built = run("build", folder, "--index", index, "--embed", tiny_encoder_dir, "--chars", 60)
    assert "documents: 3 added" in built
    found = run("search", "oil in winter", "--index", index, "--arm", "bm25", "-k", 1)
    assert "manual.pdf" in found and "page 2" in found and "Oil is changed" in found
    assert "documents: 3 unchanged" in run("add", folder, "--index", index)
    secret = folder / "secret.md"
    secret.write_text("# Recipe\n\nThe secret of the sauce is a spoon of vinegar.\n")
    assert "1 added" in run("add", secret, "--index", index, "--group", "cooks")
    asked = "search", "vinegar in the sauce", "--index", index, "--arm", "bm25"
    assert "vinegar" not in run(*asked) and "vinegar" in run(*asked, "--group", "cooks")
    assert "unchanged" in run("build", folder, "--index", index)  # and not for everyone from now on
    assert "vinegar" not in run(*asked)
    shown = run("inspect", "--index", index, "--documents", "--check")
    assert "only cooks" in shown and "whole: every text has its hash" in shown
    source = next(d.source for d in map(Index.open(index).document, Index.open(index).document_ids) if d.acl)
    assert "1 removed" in run("remove", source, "--index", index)
    (folder / "staff.html").unlink()
    secret.unlink()
    assert "1 removed, 2 unchanged" in run("build", folder, "--index", index)


def test_what_is_not_there_is_said(folder: Path, tmp_path: Path, tiny_encoder_dir: Path) -> None:
    with pytest.raises(GenwerkError, match="no index file"):
        (tmp_path / "empty").mkdir()
        run("search", "oil", "--index", tmp_path / "empty")
    with pytest.raises(GenwerkError, match="there is no index"):
        run("add", folder, "--index", tmp_path / "nowhere")
    index = tmp_path / "index"
    run("build", folder, "--index", index, "--embed", tiny_encoder_dir)
    with pytest.raises(GenwerkError, match="another chunking"):
        run("build", folder, "--index", index, "--chars", 99)
    with pytest.raises(GenwerkError, match="not in the index"):
        run("remove", "nothing.md", "--index", index)


def test_a_chunker_and_headers_are_remembered(folder: Path, tmp_path: Path, tiny_encoder_dir: Path) -> None:
    index, found = tmp_path / "index", ("search", "oil", "--index", tmp_path / "index", "--arm", "bm25")
    built = "build", folder, "--index", index, "--embed", tiny_encoder_dir
    run(*built, "--chunker", "window:around=1,sentences=2", "--headers")
    assert IndexConfig.of(Index.open(index).meta) == IndexConfig(chunker="window", around=1, sentences=2, headers=True)
    (folder / "oil.md").write_text("# Oil\n\nOil of the second kind is not for this machine at all.\n")
    assert "1 added" in run("add", folder / "oil.md", "--index", index) and "second kind" in run(*found)
    assert "unchanged" in run("build", folder, "--index", index, "--chunker", "window")
    for other in (["--chunker", "parent"], ["--chunker", "window:around=2"], ["--no-headers"]):
        with pytest.raises(GenwerkError, match="another chunking"):
            run("build", folder, "--index", index, *other)
    for wrong, said in (("wimdow", "window"), ("window:arund=1", "around"), ("window:around=-1", "greater")):
        with pytest.raises(GenwerkError, match=said):
            run("build", folder, "--index", tmp_path / "other", "--embed", tiny_encoder_dir, "--chunker", wrong)


def test_a_recipe_says_how_its_index_is_made() -> None:
    told = {"chunker": "window", "around": 2, "headers": True, "chunk_chars": 500}
    recipe = Recipe.parse({"name": "a", "documents": "python:topics", "retrieval": told})
    assert recipe.retrieval.indexed == IndexConfig(chunker="window", around=2, headers=True, max_chars=500)
    assert Recipe.parse({"name": "a", "documents": "x"}).retrieval.indexed == IndexConfig(max_chars=600)


def test_options_of_a_search(folder: Path, tmp_path: Path, tiny_encoder_dir: Path) -> None:
    index = tmp_path / "index"
    run("build", folder, "--index", index, "--embed", tiny_encoder_dir, "--chars", 60)
    asked = "search", "presure valve", "--index", index, "--arm", "bm25"
    found = run(*asked, "--where", "format=pdf", "--distinct", "--mmr", 0.8)
    assert "searched for 'pressure' instead of 'presure'" in found and "manual.pdf" in found
    assert "manual.pdf" not in run(*asked, "--where", "format=html", "--where", "format=md")
    assert "searched for" not in run(*asked, "--no-spelling", "--fusion", "rrf")
    with pytest.raises(GenwerkError, match=r"no document has a `colour`.*Known: .*format.*language"):
        run(*asked, "--where", "colour=red")
    with pytest.raises(GenwerkError, match="no reranker"):
        run(*asked, "--rerank")


def test_an_endless_query_and_an_empty_index(folder: Path, tmp_path: Path, tiny_encoder_dir: Path) -> None:
    index = tmp_path / "index"
    run("build", folder, "--index", index, "--embed", tiny_encoder_dir)
    with pytest.raises(GenwerkError, match="100,000 characters"):
        run("search", "x" * 100_000, "--index", index)
    with pytest.raises(GenwerkError, match="empty"):
        run("search", "  ", "--index", index)
    for file in list(folder.iterdir())[1:]:
        file.unlink()
    run("build", folder, "--index", index)
    shown = run("inspect", "--index", index, "--documents")
    run("remove", shown.split("characters  ")[1].split()[0], "--index", index)
    assert "the index is empty" in run("search", "oil", "--index", index)


def test_a_reranker_beside_an_index_is_asked(folder: Path, tmp_path: Path, tiny_encoder_dir: Path) -> None:
    index = tmp_path / "index"
    run("build", folder, "--index", index, "--embed", tiny_encoder_dir, "--chars", 60)
    model = new_cross_encoder(tiny_encoder_dir)
    save_cross_encoder(model, index / "reranker", tiny_encoder_dir, window=48)
    assert Reranker.load(index / "reranker").window == 48, "what it was trained for, not all its positions"
    even = Interval(0.5, 0.4, 0.6, 9)
    Reranking(False, 2, 0.0, "as good", "hybrid", 9, even, even, even, ()).save(index / "reranking.json")
    asked = "search", "oil in winter", "--index", index
    assert "reranked" not in run(*asked) and "reranked" in run(*asked, "--rerank")
