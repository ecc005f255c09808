"""`genwerk distill`: a draft for any model, from documents to directory, without a recipe."""

from __future__ import annotations

from pathlib import Path

from genwerk.alignment.distill import DistillConfig
from genwerk.core.assets import KNOWN
from genwerk.core.workspace import Artifact, Workspace
from genwerk.data.prepare import PrepareConfig
from genwerk.data.sources import source_fingerprint
from genwerk.models.base import LoadBaseConfig
from genwerk.recipe import fetch_source

__all__ = ["distill_model"]


def distill_model(model: str, documents: tuple[str, ...], config: DistillConfig, workspace: Workspace) -> Artifact:
    """The draft of a model artifact (by id) or of weights (by name, spec or path). Each step is found if made before.

    Raises WorkspaceError and ConfigError for a model that is not there.
    """
    step = workspace.step
    sources = tuple(item if item.startswith("python:") else str(Path(item).resolve()) for item in documents)
    dataset = step(
        "genwerk.data.prepare:prepare", PrepareConfig(sources=sources), source_fingerprint(sources), kind="dataset"
    )
    if model in KNOWN or ":" in model or Path(model).exists():
        loading = LoadBaseConfig(name=model)
        base = step("genwerk.models.base:load_base", loading, fetch_source(model), kind="model")
    else:
        base = workspace.find(model)
    return step("genwerk.alignment.distill:distill_draft", config, base, dataset, kind="draft")
