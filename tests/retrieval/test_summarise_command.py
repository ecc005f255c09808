"""`genwerk index summarise` from files to sentences with their places, and only of documents that may be seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genwerk.cli import app
from genwerk.core.errors import GenwerkError, RequestError
from genwerk.core.types import Request, Usage
from genwerk.inference.engine import Delta
from genwerk.recipes import summarising

PUMP = "The pump is reset by holding the red button."
STAFF = "Only trained staff may open the housing."


class Engine:
    """Says one true sentence and one that is not."""

    def stream(self, request: Request) -> Iterator[Delta]:
        yield Delta(f"{PUMP} It was painted by pirates.", 0, None, "stop", Usage(1, 1))

    def close(self) -> None:
        """Holds nothing."""


@pytest.fixture
def index(tmp_path: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(summarising, "load_engine", lambda path, **options: Engine())
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "manual.md").write_text(f"# Pump\n\n{PUMP} It is blue.\n\n# Staff\n\n{STAFF}\n")
    run("build", docs, "--index", tmp_path / "index", "--embed", tiny_encoder_dir)
    return tmp_path / "index"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["index", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_sentences_with_their_places_and_the_share_of_sections(index: Path) -> None:
    told = run("summarise", "manual.md", "--index", index, "--model", index)
    assert f"{PUMP} [1]" in told and "pirates" not in told
    assert "manual.md, line 3, 8-" in told and "50% of 2 sections" in told
    outline = run("summarise", "manual.md", "--index", index, "--model", index, "--outline")
    assert f"Pump\n  {PUMP} [8-" in outline


def test_a_document_that_is_not_there_or_hidden_is_named(index: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("# Board\n\nThe board meets in secret on every second Monday.\n")
    run("add", tmp_path / "secret.md", "--index", index, "--group", "board")
    for name in ("other.md", "secret.md"):
        with pytest.raises(RequestError, match="no document is called"):
            run("summarise", name, "--index", index, "--model", index)
    assert "board" in run("summarise", "secret.md", "--index", index, "--model", index, "--group", "board")


def test_a_model_that_is_not_there_is_named(index: Path) -> None:
    with pytest.raises(GenwerkError):
        run("summarise", "manual.md", "--index", index, "--model", "nowhere", "-w", index.parent / "workspace")
