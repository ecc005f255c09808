"""Every run of a workspace for the page: metrics, curve, gates, lineage and the report, which is opened by a ticket."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genwerk.core.errors import RequestError, WorkspaceError
from genwerk.core.workspace import Artifact, Workspace

__all__ = ["REPORT_POLICY", "Runs", "read_curve"]

MAX_POINTS = 400
# The report is a page of its own with inline styles and plots; nothing in it may run or load.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'self'; sandbox "
    "allow-popups"
)


class Runs:
    """Reads a workspace; `serving` gives the ids of what is served. A frame cannot send a key, so reports take a
    ticket."""

    def __init__(self, workspace: Workspace, serving: Callable[[], set[str]]) -> None:
        self.workspace, self._serving = workspace, serving
        self._secret = secrets.token_bytes(32)

    def runs(self) -> dict[str, Any]:
        """Every artifact, newest first, in short."""
        serving = self._serving()
        found = sorted(self.workspace.artifacts(), key=lambda artifact: artifact.created, reverse=True)
        return {"object": "list", "data": [self._summary(artifact, serving) for artifact in found]}

    def run(self, identity: str) -> dict[str, Any]:
        """One artifact with config, curve, gates and lineage. Raises RequestError (404)."""
        artifact = self._find(identity)
        serving = self._serving()
        lineage = [{"id": item.id, "kind": item.kind} for item in self.workspace.lineage(artifact)[:-1]]
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
            return self.workspace.find(identity)
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
