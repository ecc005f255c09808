"""Prompts are counted before they are read, read once and beside the event loop, and refused where they are empty."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from genwerk.core.errors import RequestError
from genwerk.serving.assistant import Assistant
from genwerk.serving.completion_request import parse_completion
from genwerk.tokenizers.tokenizer import Tokenizer


def test_too_many_prompts_are_refused_unread(assistant: Assistant, monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(*given: object, **options: object) -> None:
        raise AssertionError("a prompt was read")

    monkeypatch.setattr(Tokenizer, "encode", unread)
    with pytest.raises(RequestError, match="65 prompts with 1 answers each"):
        parse_completion({"model": "handbook-base", "prompt": ["word"] * 65}, assistant.deployment)


def test_prompts_are_read_beside_the_event_loop(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, on_loop = Tokenizer.encode, list[bool]()

    def watched(self: Tokenizer, text: str, *, special: bool = False) -> list[int]:
        try:
            asyncio.get_running_loop()
            on_loop.append(True)
        except RuntimeError:  # no loop runs in this thread
            on_loop.append(False)
        return encode(self, text, special=special)

    monkeypatch.setattr(Tokenizer, "encode", watched)
    running.client().completions.create(model="handbook-base", prompt=["A loop", "Names"], max_tokens=2)
    assert on_loop and not any(on_loop)


def test_a_prompt_becomes_tokens_once(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, read = Tokenizer.encode, list[str]()

    def counted(self: Tokenizer, text: str, *, special: bool = False) -> list[int]:
        read.append(text)
        return encode(self, text, special=special)

    monkeypatch.setattr(Tokenizer, "encode", counted)
    running.client().completions.create(model="handbook-base", prompt=["A loop", "Names"], max_tokens=2)
    assert sorted(read) == ["A loop", "Names"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_empty_prompt_needs_a_token_to_begin_with(
    running: Any, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    def ask() -> Any:
        return running.client().completions.create(
            model="handbook-base", prompt=["A loop", ""], max_tokens=2, stream=stream
        )

    tokenizer = running.assistant.deployment.engine.tokenizer
    monkeypatch.setattr(tokenizer, "bos_id", 0)
    assert len(list(ask()) if stream else ask().choices) >= 2
    monkeypatch.setattr(tokenizer, "bos_id", None)
    with pytest.raises(openai.BadRequestError, match="Give at least one character") as raised:
        ask()
    assert (raised.value.param, raised.value.code) == ("prompt", "invalid_value")
