"""Invariant: texts wait in the line of the user who sent them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from genwerk.inference.encoding import EncodedText, Encoding
from genwerk.serving.auth import KeyStore


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
