"""What the page shows beside the chat: the deployment, its models and its documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from genwerk.core.errors import RequestError
from genwerk.serving.deployment import Deployment
from genwerk.serving.openai_reply import title_of


class Browser:
    """Reads a deployment for the page; generators: the names of what makes pictures beside it."""

    def __init__(self, deployment: Deployment, generators: Callable[[], list[str]] = list) -> None:
        self.deployment, self._generators = deployment, generators

    def info(self, *, keys: bool) -> dict[str, Any]:
        """Name, guards, example questions, counts, and which model to ask by default."""
        deployment = self.deployment
        deployment.refresh()
        return {
            "name": deployment.name, "default_model": deployment.default_model, "keys": keys,
            "grounded": deployment.index is not None, "questions": list(deployment.questions),
            "guards": list(deployment.guards.names),
            "documents": deployment.count("documents"), "chunks": deployment.count("chunks"),
            "index": deployment.living[0] or None,
            "context": deployment.engine.max_context, "text": True, "generators": self._generators(),
        }  # fmt: skip

    def models(self) -> dict[str, Any]:
        """OpenAI's list of models: the base, its adapters, and the models that read texts without answering."""
        deployment, engine = self.deployment, self.deployment.engine
        base = "quantised" if "quantised" in deployment.artifacts else "model"
        entries = [(engine.name, "base", base)] + [(name, "adapter", "adapter") for name in engine.adapters]
        if deployment.embedder is not None:
            entries.append((deployment.embedder_name, "embedding", "index"))
        if deployment.reranker is not None:
            entries.append((deployment.reranker_name, "reranker", "reranker"))
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
