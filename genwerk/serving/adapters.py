"""Adapters that are loaded and unloaded over HTTP, under the names that vLLM gives the two endpoints.

    POST /v1/load_lora_adapter    {"lora_name": "handbook-2", "lora_path": "3f2a91c04be7d655"}
    POST /v1/unload_lora_adapter  {"lora_name": "handbook-2"}

A path is an adapter of the workspace, by its id or the beginning of it, or a folder below the workspace: a request
never makes the server read any other file. The deployment's own adapter stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genwerk.core.errors import ModelError, RequestError, WorkspaceError
from genwerk.serving.deployment import Deployment

_FIELDS = {"lora_name", "lora_path", "lora_int_id", "load_inplace"}


def load_adapter(deployment: Deployment, call: Mapping[str, Any]) -> str:
    """Serve one more adapter. Raises RequestError for a name in use, a foreign path and files that do not fit."""
    name, given = _field(call, "lora_name"), _field(call, "lora_path")
    if call.get("load_inplace"):
        raise RequestError("an adapter is not replaced in place", param="load_inplace", remedy="Unload the old one.")
    if name in (deployment.engine.name, deployment.adapter, deployment.embedder_name, deployment.reranker_name):
        raise RequestError(f"`{name}` is the name of a model", param="lora_name", status=409, code="adapter_exists")
    path = _inside(deployment, given)
    try:
        deployment.engine.add_adapter(name, path)
    except ModelError as error:
        raise RequestError(error.what, param="lora_path", code="adapter_unusable", remedy=error.remedy) from error
    return f"Success: LoRA adapter '{name}' added successfully."


def unload_adapter(deployment: Deployment, call: Mapping[str, Any]) -> str:
    """Refuse an adapter from now on; answers that use it end with it. Raises RequestError (404) if there is none."""
    name = _field(call, "lora_name")
    if name == deployment.adapter:
        what, remedy = f"`{name}` is the deployment's own adapter", "Promote another deployment instead."
        raise RequestError(what, param="lora_name", status=403, code="adapter_protected", remedy=remedy)
    deployment.engine.remove_adapter(name)
    return f"Success: LoRA adapter '{name}' removed successfully."


def _field(call: Mapping[str, Any], name: str) -> str:
    if strange := sorted(set(call) - _FIELDS):
        raise RequestError(f"`{strange[0]}` is not a known field", param=strange[0], code="unknown_parameter")
    value = call.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError(f"`{name}` is missing", param=name, code="invalid_value", remedy="It must be a text.")
    return value


def _inside(deployment: Deployment, given: str) -> Path:
    """The folder that `given` names in the workspace."""
    root = deployment.workspace.root.resolve()
    try:
        path = (root / given).resolve()
        if path.is_relative_to(root) and path.is_dir():
            return path
        artifact = deployment.workspace.find(given)
    except (WorkspaceError, OSError, ValueError) as error:  # too long for a path, or with a character that none has
        remedy = "Give the id of an adapter in the workspace, or a folder below it."
        raise RequestError(
            f"there is no adapter `{given}` in the workspace", param="lora_path", status=404, code="adapter_not_found",
            remedy=remedy,
        ) from error  # fmt: skip
    if artifact.kind != "adapter":
        raise RequestError(f"{artifact.id} is a {artifact.kind}, not an adapter", param="lora_path")
    return artifact.path
