"""Invariant: however large a reply is, it is the JSON that it is in one piece, and the event loop does not spell it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.serving import app, openai_reply, shapes
from genwerk.serving.openai_reply import encode_json

_TEXTS = st.text(st.characters(codec="utf-8"))
_PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS
_VALUES = st.recursive(_PLAIN, lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner), max_leaves=8)


@given(st.dictionaries(_TEXTS, _VALUES))
def test_entry_by_entry_is_the_same_json(body: dict[str, Any]) -> None:
    assert encode_json(body) == json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def test_every_row_is_spelled_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    spelled: list[object] = []

    def watched(value: object) -> bytes:
        spelled.append(value)
        return b"0"

    monkeypatch.setattr(openai_reply, "_spell", watched)
    encode_json({"object": "list", "data": [{"embedding": [0.5] * 384}] * 3})
    assert spelled.count({"embedding": [0.5] * 384}) == 3 and max(len(str(one)) for one in spelled) < 2200


def test_vectors_are_spelled_beside_the_event_loop(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    on_loop: list[bool] = []

    def watched(body: dict[str, Any]) -> bytes:
        try:
            asyncio.get_running_loop()
            on_loop.append(True)
        except RuntimeError:  # no loop runs in this thread
            on_loop.append(False)
        return encode_json(body)

    for module in (app, shapes):
        monkeypatch.setattr(module, "encode_json", watched)
    client = running.client()
    assert client.embeddings.create(model="encoder", input=["lambda", "with"]).data[1].embedding
    client.chat.completions.create(model="handbook", messages=[{"role": "user", "content": "x"}], max_tokens=2)
    assert on_loop == [False, False]
