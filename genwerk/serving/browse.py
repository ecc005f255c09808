"""What the page shows beside the chat: the deployment, its documents, and every run with its curve and report."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.workspace import Artifact
from genwerk.serving.deployment import Deployment
from genwerk.serving.openai_reply import title_of

MAX_POINTS = 400
# The report is a page of its own with inline styles and plots; nothing in it may run or load.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'self'; sandbox "
    "allow-popups"
)


class Browser:
    """Reads a deployment's workspace for the page. Reports are opened by a ticket, for a frame cannot send a key."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._secret = secrets.token_bytes(32)

    def info(self, *, keys: bool) -> dict[str, Any]:
        """Name, guards, example questions, counts, and which model to ask by default."""
        deployment = self.deployment
        return {
            "name": deployment.name, "default_model": deployment.default_model, "keys": keys,
            "grounded": deployment.index is not None, "questions": list(deployment.questions),
            "guards": list(deployment.guards.names),
            "documents": deployment.count("documents"), "chunks": deployment.count("chunks"),
            "context": deployment.engine.max_context,
        }  # fmt: skip

    def models(self) -> dict[str, Any]:
        """OpenAI's list of models: the base, its adapters, and the models that read texts without answering."""
        deployment, engine = self.deployment, self.deployment.engine
        base = "quantised" if "quantised" in deployment.artifacts else "model"
        entries = [(engine.name, "base", base)] + [(name, "adapter", "adapter") for name in engine.adapters]
        if deployment.embedder is not None:
            entries.append((deployment.embedder_name, "embedding", "index"))
        if deployment.reranker is not None:
            entries.append((deployment.reranker_name, "reranker", ""))
        return {"object": "list", "data": [self._model(*entry) for entry in entries]}

    def model(self, name: str) -> dict[str, Any]:
        """One entry of that list. Raises RequestError (404)."""
        for entry in self.models()["data"]:
            if entry["id"] == name:
                return dict(entry)
        raise RequestError(f"there is no model `{name}`", param="model", status=404, code="model_not_found")

    def _model(self, name: str, kind: str, part: str) -> dict[str, Any]:
        own = kind != "adapter" or name == self.deployment.adapter
        artifact = self.deployment.artifacts.get(part) if own else None
        parent = self.deployment.engine.name if kind == "adapter" else None
        created = self.deployment.created(part) if own else 0
        return {
            "id": name, "object": "model", "created": created, "owned_by": "genwerk",
            "genwerk": {"kind": kind, "parent": parent, "artifact": artifact.id if artifact else None},
        }  # fmt: skip

    def document(self, identity: str, groups: tuple[str, ...] = ()) -> dict[str, Any]:
        """A document with its text. Raises RequestError (404)."""
        document = self.deployment.document(identity, groups)
        return {
            "id": document.id, "source": document.source, "title": title_of(document.metadata, document.source),
            "sha256": document.sha256, "text": document.text, "metadata": dict(document.metadata),
        }  # fmt: skip

    def runs(self) -> dict[str, Any]:
        """Every artifact, newest first, in short."""
        serving = {artifact.id for artifact in self.deployment.served().values()}
        found = sorted(self.deployment.workspace.artifacts(), key=lambda artifact: artifact.created, reverse=True)
        return {"object": "list", "data": [self._summary(artifact, serving) for artifact in found]}

    def run(self, identity: str) -> dict[str, Any]:
        """One artifact with config, curve, gates and lineage. Raises RequestError (404)."""
        artifact = self._find(identity)
        workspace = self.deployment.workspace
        serving = {artifact.id for artifact in self.deployment.served().values()}
        lineage = [{"id": item.id, "kind": item.kind} for item in workspace.lineage(artifact)[:-1]]
        return {
            **self._summary(artifact, serving), "config": dict(artifact.config), "files": dict(artifact.files),
            "content_sha256": artifact.content_sha256, "function": artifact.function, "code": artifact.code,
            "sources": dict(artifact.sources), "curve": read_curve(artifact.path / "loss.jsonl"), "lineage": lineage,
        }  # fmt: skip

    def report(self, identity: str) -> Path:
        """The HTML report of a run. Raises RequestError (404)."""
        path = self._find(identity).path / "report.html"
        if not path.is_file():
            raise RequestError(f"{identity} has no report", status=404, code="report_not_found")
        return path

    def ticket(self, identity: str) -> str:
        """Opens the report of this run until the server stops."""
        return hmac.new(self._secret, identity.encode(), "sha256").hexdigest()

    def check_ticket(self, identity: str, ticket: str) -> None:
        """Raises RequestError (401) for a wrong ticket."""
        if not hmac.compare_digest(self.ticket(identity).encode(), ticket.encode("utf-8", "replace")):
            remedy = "Open the report from the page."
            raise RequestError("the link to this report is not valid", status=401, code="bad_ticket", remedy=remedy)

    def _find(self, identity: str) -> Artifact:
        try:
            return self.deployment.workspace.find(identity)
        except WorkspaceError as error:
            raise RequestError(error.what, param="id", status=404, code="run_not_found") from error

    def _summary(self, artifact: Artifact, serving: set[str]) -> dict[str, Any]:
        report = f"/v1/genwerk/runs/{artifact.id}/report?ticket={self.ticket(artifact.id)}"
        return {
            "id": artifact.id, "kind": artifact.kind, "created": artifact.created, "parents": list(artifact.parents),
            "metrics": dict(artifact.metrics), "serving": artifact.id in serving,
            "has_curve": "loss.jsonl" in artifact.files, "gates": _read_json(artifact.path / "gates.json"),
            "report": report if "report.html" in artifact.files else None,
        }  # fmt: skip


def read_curve(path: Path) -> list[Mapping[str, Any]]:
    """Rows of a loss curve, at most MAX_POINTS of them; rows with a validation value are all kept."""
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    stride = max(1, -(-len(rows) // MAX_POINTS))
    last = len(rows) - 1
    return [row for place, row in enumerate(rows) if place % stride == 0 or place == last or _validated(row)]


def _validated(row: Mapping[str, Any]) -> bool:
    return any(key.startswith("val") for key in row)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
