"""Contract: adapters come and go over HTTP as with vLLM, from the workspace alone, and the deployment's own stays."""

from __future__ import annotations

import shutil
from typing import Any

import httpx
import pytest
import tiny_chain

from genwerk.serving.deployment import Deployment

CHAT = {"messages": [{"role": "user", "content": "Write"}], "max_tokens": 6, "grounded": False}


@pytest.fixture
def call(running: Any) -> Any:
    def post(path: str, **body: Any) -> httpx.Response:
        return httpx.post(f"{running.url}/v1/{path}", json=body, timeout=60)

    return post


def test_an_adapter_is_loaded_asked_listed_and_unloaded(running: Any, call: Any, tiny_deployment: Deployment) -> None:
    artifact = tiny_deployment.artifacts["adapter"]
    loaded = call("load_lora_adapter", lora_name="second", lora_path=artifact.id)
    assert (loaded.status_code, loaded.text) == (200, "Success: LoRA adapter 'second' added successfully.")
    models = {entry["id"]: entry for entry in httpx.get(f"{running.url}/v1/models").json()["data"]}
    assert models["second"]["genwerk"] == {"kind": "adapter", "parent": tiny_deployment.engine.name, "artifact": None}
    own, second = (call("chat/completions", model=name, **CHAT).json() for name in (tiny_chain.NAME, "second"))
    assert own["choices"][0]["message"] == second["choices"][0]["message"]
    record = running.assistant.log.get(second["genwerk"]["answer_id"])
    assert "adapter" not in record.artifacts, "the answer would be traced to another adapter"
    again = call("load_lora_adapter", lora_name="second", lora_path=artifact.id)
    assert again.status_code == 409 and "already" in again.json()["error"]["message"]
    gone = call("unload_lora_adapter", lora_name="second")
    assert (gone.status_code, gone.text) == (200, "Success: LoRA adapter 'second' removed successfully.")
    assert call("chat/completions", model="second", **CHAT).status_code == 404
    assert call("unload_lora_adapter", lora_name="second").status_code == 404


def test_only_folders_of_the_workspace_are_read(call: Any, tiny_deployment: Deployment, tmp_path: Any) -> None:
    artifact, root = tiny_deployment.artifacts["adapter"], tiny_deployment.workspace.root
    shutil.copytree(artifact.path, tmp_path / "outside")
    for path in (str(tmp_path / "outside"), "../outside", "/etc", "nothing"):
        assert call("load_lora_adapter", lora_name="far", lora_path=path).status_code == 404, path
    (root / "link").symlink_to(tmp_path / "outside")
    assert call("load_lora_adapter", lora_name="far", lora_path="link").status_code == 404
    shutil.copytree(artifact.path, root / "adapters" / "near")
    assert call("load_lora_adapter", lora_name="near", lora_path="adapters/near").status_code == 200
    assert call("unload_lora_adapter", lora_name="near").status_code == 200


def test_what_does_not_fit_is_refused(call: Any, tiny_deployment: Deployment) -> None:
    model, own = tiny_deployment.artifacts["model"], tiny_deployment.artifacts["adapter"].id
    for body, status, said in (
        ({"lora_name": "a", "lora_path": model.id}, 400, "not an adapter"),
        ({"lora_name": "a", "lora_path": f"artifacts/model/{model.id}"}, 400, "adapter_config.json"),
        ({"lora_name": "", "lora_path": own}, 400, "lora_name"),
        ({"lora_name": "a.b", "lora_path": own}, 400, "cannot name"),
        ({"lora_name": tiny_deployment.engine.name, "lora_path": own}, 409, "name of a model"),
        ({"lora_name": "a", "lora_path": own, "rank": 4}, 400, "rank"),
    ):
        refused = call("load_lora_adapter", **body)
        assert refused.status_code == status and said in refused.json()["error"]["message"], refused.text
    kept = call("unload_lora_adapter", lora_name=tiny_chain.NAME)
    assert kept.status_code == 403 and tiny_chain.NAME in tiny_deployment.engine.adapters
