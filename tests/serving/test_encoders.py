"""Invariant: texts wait in the line of the user who sent them, and are read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from genwerk.inference.encoding import EncodedText, Encoding
from genwerk.inference.engine import Engine
from genwerk.serving.auth import KeyStore
from genwerk.serving.deployment import Deployment
from genwerk.serving.encoders import Encoders
from genwerk.serving.encoding_request import EmbeddingCall


def test_vectors_and_scores_are_of_the_user_whose_key_was_shown(
    start_server: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {name: KeyStore(tmp_path / "keys.json").add(name) for name in ("laptop", "desk")}
    server, run, users = start_server(keys=tmp_path / "keys.json"), Encoding.run, list[str]()

    def watched(self: Encoding, texts: Sequence[EncodedText], user: str = "") -> Tensor:
        users.append(user)
        return run(self, texts, user)

    monkeypatch.setattr(Encoding, "run", watched)
    for name, key in keys.items():
        client = server.client(key)
        client.embeddings.create(model="encoder", input=["lambda", "lambda " * 300])
        client.post("/rerank", cast_to=dict, body={"model": "encoder", "query": "a", "documents": ["b"]})
        assert len(users) >= 3 and set(users) == {name}
        users.clear()


@pytest.mark.parametrize("which", ["encoder", "base"])
def test_texts_are_read_once(which: str, tiny_deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Engine.load(tiny_deployment.artifacts["model"].path, name="base", engine="torch")
    encoders, read = Encoders(replace(tiny_deployment, engine=base)), list[str]()
    reader, name = (base.tokenizer, "encode_batch") if which == "base" else (tiny_deployment.embedder, "tokenize")
    genuine = getattr(reader, name)

    def watched(texts: Sequence[str]) -> list[list[int]]:
        read.extend(texts)
        found: list[list[int]] = genuine(texts)
        return found

    monkeypatch.setattr(reader, name, watched)
    texts = ("lambda", "a lambda expression")
    found = encoders.embeddings(EmbeddingCall(texts, which, False, None))
    assert read == [*texts] and len(found["data"]) == 2
    assert found["usage"]["prompt_tokens"] == sum(map(len, genuine(texts)))
