"""A deployment that answers from a living index: a folder or a database that others change while it is served."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_chain

sys.path.append(str(Path(__file__).parents[1] / "retrieval"))

from local_postgres import LocalPostgres

from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.types import Document, Message, Sampling
from genwerk.core.workspace import Workspace
from genwerk.data.prepare import PrepareConfig, read_documents
from genwerk.monitoring.answers import AnswerLog
from genwerk.recipe import load_recipe
from genwerk.retrieval.building import IndexConfig, LiveIndex
from genwerk.retrieval.embedding import Embedder
from genwerk.serving.assistant import Ask, Assistant
from genwerk.serving.browse import Browser
from genwerk.serving.deployment import Deployment, load_deployment
from genwerk.serving.searching import parse_search, search
from genwerk.serving.trace import build_trace

TRAMS = Document.create(
    "trams.txt", "The depot of the trams is in Elm Street. A tram leaves the depot every seven minutes.\n" * 3
)


@pytest.fixture(params=["folder", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "living")
        return
    postgres = pytest.importorskip("genwerk.retrieval.postgres", reason="no psycopg: pip install 'genwerk[postgres]'")
    monkeypatch.setattr(postgres, "cache_directory", lambda: tmp_path / "cache")
    server = LocalPostgres.find()
    if server is None:
        pytest.skip("no PostgreSQL: pip install 'genwerk[test]', or Debian's `postgresql`")
    with server.running():
        yield server.url(f"t{secrets.token_hex(6)}")


def embedder_of(workspace: Workspace) -> Embedder:
    return Embedder.load(workspace.root.parent / "encoder")


@pytest.fixture
def live(place: str, tiny_workspace: Workspace) -> LiveIndex:
    made = LiveIndex(place, embedder_of(tiny_workspace), IndexConfig())
    made.sync(read_documents(PrepareConfig(sources=(str(tiny_workspace.root.parent / "documents"),))))
    return made


@pytest.fixture
def served(place: str, live: LiveIndex, tiny_workspace: Workspace) -> Iterator[Deployment]:
    deployment = load_deployment(tiny_workspace, tiny_chain.NAME, index=place)
    yield deployment
    deployment.engine.close()


def found(deployment: Deployment, query: str, *groups: str) -> set[str]:
    reply = search(deployment, parse_search({"query": query, "k": 20, "arm": "bm25"}), groups)
    return {passage["source"] for passage in reply["data"]}


def test_what_others_do_to_the_index_is_there_at_the_next_request(served: Deployment, live: LiveIndex) -> None:
    kept, documents = served.fingerprint, served.count("documents")
    assert TRAMS.source not in found(served, "trams depot")
    live.sync([TRAMS])
    assert TRAMS.source in found(served, "trams depot") and served.fingerprint != kept
    assert Browser(served).info(keys=False)["documents"] == documents + 1
    live.sync([replace(TRAMS, acl=("drivers",))])
    assert TRAMS.source not in found(served, "trams depot") and TRAMS.source in found(served, "trams depot", "drivers")
    with pytest.raises(RequestError, match="no document"):
        served.document(TRAMS.id)
    live.remove([TRAMS.source])
    assert TRAMS.source not in found(served, "trams depot", "drivers")
    assert Browser(served).info(keys=False)["index"] == served.index.where  # type: ignore[union-attr]


def test_an_answer_is_traced_to_the_living_index_until_its_document_goes(
    served: Deployment, live: LiveIndex, tiny_workspace: Workspace, question: str
) -> None:
    log = AnswerLog(Path(":memory:"))
    reply = Assistant(served, log).reply(Ask((Message("user", question),), Sampling(max_tokens=8)))
    record = log.get(reply.id)
    assert (record.index, record.state) == served.living and not {"index", "dataset"} & record.artifacts.keys()
    assert reply.citations and build_trace(tiny_workspace, record).sound
    cited = reply.citations[0]
    live.remove([cited.source])
    trace = build_trace(tiny_workspace, record)
    assert not trace.sound and "not in the index" in trace.citations[0].problem
    again = Assistant(served, log).reply(Ask((Message("user", question),), Sampling(max_tokens=8)))
    assert cited.document_id not in {one.document_id for one in again.citations}
    assert question not in served.questions, "an example on the page is one that the documents answer now"


def test_an_index_that_was_not_measured_so_is_refused_or_told(
    tiny_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    embedder = embedder_of(tiny_workspace)
    LiveIndex(tmp_path / "shorter", embedder, IndexConfig(max_chars=300)).sync([TRAMS])
    load_deployment(tiny_workspace, tiny_chain.NAME, index=str(tmp_path / "shorter")).engine.close()
    assert "were fitted on the latter" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr(embedder, "identity", "another")
    LiveIndex(tmp_path / "other", embedder, IndexConfig()).sync([TRAMS])
    with pytest.raises(WorkspaceError, match="another embedder"):
        load_deployment(tiny_workspace, tiny_chain.NAME, index=str(tmp_path / "other"))
    with pytest.raises(WorkspaceError, match="genwerk index build DOCUMENTS"):
        load_deployment(tiny_workspace, tiny_chain.NAME, index=str(tmp_path / "none"))


@pytest.mark.parametrize("told", ["living", "postgresql://db.example/team?schema=handbook"])
def test_a_recipe_names_it(told: str, tmp_path: Path) -> None:
    recipe = tmp_path / "handbook.yaml"
    recipe.write_text(f"name: handbook\ndocuments: documents\nserve: {{index: '{told}'}}\n", encoding="utf-8")
    wanted = told if ":" in told else str(tmp_path / told)
    assert load_recipe(recipe).serve.asked_for("index") == {"index": wanted}
