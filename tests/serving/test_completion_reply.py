"""Invariant: nothing of a whole completion is spelled out on the event loop."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator

import pytest

from genwerk.serving.assistant import Assistant
from genwerk.serving.choices import ChoiceEvent
from genwerk.serving.completion_reply import whole_text_completion
from genwerk.serving.completion_request import answer_prompts, parse_completion
from genwerk.tokenizers.tokenizer import Tokenizer


def test_a_whole_completion_is_made_in_a_thread(assistant: Assistant, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"model": "handbook-base", "prompt": [[1, 2, 3], "A loop"], "max_tokens": 4, "logprobs": 2, "echo": True}
    call, spelled = parse_completion(asked, assistant.deployment), set[int]()
    found = list(answer_prompts(assistant, call, threading.Event()))

    async def events() -> AsyncGenerator[ChoiceEvent, None]:
        for item in found:
            yield item

    for name in ("token_bytes", "decode"):
        method = getattr(Tokenizer, name)

        def watched(*given: object, method: object = method, **options: object) -> object:
            spelled.add(threading.get_ident())
            return method(*given, **options)  # type: ignore[operator]

        monkeypatch.setattr(Tokenizer, name, watched)
    whole = json.loads(asyncio.run(whole_text_completion(call, assistant.deployment, events())))
    assert len(whole["choices"]) == 2 and whole["choices"][0]["logprobs"]["tokens"]
    assert spelled and threading.get_ident() not in spelled
