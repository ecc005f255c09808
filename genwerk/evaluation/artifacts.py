"""Finding the inputs of a step by what they are: artifacts by kind, the embedder as a source from outside.

`workspace.step(evaluate, config, model, adapter, index, …)` passes inputs by position; evaluation takes them in any
order and leaves out what a run does not have (no adapter, no model trained here), so each is looked up by its kind.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genwerk.core.artifact import Artifact, Source
from genwerk.core.errors import WorkspaceError

__all__ = ["KINDS", "Inputs"]

KINDS = {
    "model": "the model that answers",
    "adapter": "its tuned adapter",
    "quantised": "the rounded model that is served, its adapter merged",
    "index": "passages, words and vectors",
    "fit": "fusion weight and abstention threshold",
    "reranker": "the cross-encoder that may have the last word",
    "reranking": "whether it has",
    "rewriting": "what the model writes to be searched for too",
    "abstention": "abstention threshold where it has",
    "dataset": "the prepared documents",
    "embedder": "the model that turns text into vectors",
    "pretrained": "the small model trained from scratch",
    "tokenizer": "the tokenizer trained on the documents",
    "tokens": "the documents as token shards",
    "evaluation": "the measures",
}


@dataclass(frozen=True)
class Inputs:
    """Inputs by role; a role is the artifact's kind, `embedder` for a source."""

    by_role: dict[str, Artifact | Source]

    @classmethod
    def of(cls, inputs: Sequence[Artifact | Source]) -> Inputs:
        """Sort `inputs` into roles. Raises WorkspaceError for an unknown kind or two inputs of one kind."""
        found: dict[str, Artifact | Source] = {}
        for item in inputs:
            role = item.kind if isinstance(item, Artifact) else "embedder"
            if role not in KINDS:
                near = difflib.get_close_matches(role, KINDS, n=1)
                hint = f"Did you mean `{near[0]}`?" if near else f"Known kinds: {', '.join(KINDS)}."
                raise WorkspaceError(f"evaluation has no use for an artifact of kind `{role}`", remedy=hint)
            if role in found:
                raise WorkspaceError(f"evaluation was given two inputs of kind `{role}`", remedy="Give one of each.")
            found[role] = item
        return cls(found)

    def __contains__(self, role: str) -> bool:
        return role in self.by_role

    def __iter__(self) -> Iterator[tuple[str, Artifact | Source]]:
        """Roles in the order of KINDS, whatever the order of the inputs."""
        return ((role, self.by_role[role]) for role in KINDS if role in self.by_role)

    def artifact(self, role: str) -> Artifact | None:
        """The artifact of this kind, or None."""
        found = self.by_role.get(role)
        return found if isinstance(found, Artifact) else None

    def need(self, role: str, *, measure: str) -> Artifact | Source:
        """The input of this role. Raises WorkspaceError that says which measure needs it."""
        if role not in self.by_role:
            raise WorkspaceError(
                f"`{measure}` cannot be evaluated without {KINDS[role]} (`{role}`)",
                remedy=f"Make it in the recipe, or leave `{measure}` out of `evaluate:`.",
            )
        return self.by_role[role]

    def lineage(self) -> list[dict[str, str]]:
        """What a report says it was made from; the same for the same inputs."""
        return [
            {"role": role, "id": item.id, "content": item.content_sha256}
            if isinstance(item, Artifact)
            else {"role": role, "id": item.name, "content": item.sha256}
            for role, item in self
        ]
