"""Contract of every shape: a stream says the same as the whole, with one id, and its token counts at the end."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import pytest

from genwerk.core.errors import RequestError
from genwerk.serving.assistant import Assistant
from genwerk.serving.chat_reply import ChatReply
from genwerk.serving.choices import ChoiceEvent, answer_several
from genwerk.serving.completion_reply import CompletionReply
from genwerk.serving.completion_request import answer_prompts, parse_completion
from genwerk.serving.openai_request import parse_chat
from genwerk.serving.shapes import Shape, stream_lines, whole_reply

ASKED = {"model": "handbook-base", "n": 2, "temperature": 1.0, "seed": 4, "max_tokens": 24}
KINDS = ("chat", "completion")


def asked(assistant: Assistant, kind: str) -> tuple[type[Any], Any, list[ChoiceEvent]]:
    """A shape, what it is made with, and the events of an answer."""
    stop = threading.Event()
    if kind == "chat":
        messages = [{"role": "user", "content": "Write"}]
        chat = parse_chat(ASKED | {"messages": messages, "grounded": False, "logprobs": True}, assistant.deployment)
        return ChatReply, chat, list(answer_several(assistant, chat.ask, chat.several, stop))
    call = parse_completion(ASKED | {"prompt": ["A loop", "Names"], "logprobs": 1}, assistant.deployment)
    return CompletionReply, call, list(answer_prompts(assistant, call, stop))


async def each(items: Iterable[ChoiceEvent]) -> AsyncGenerator[ChoiceEvent, None]:
    for item in items:
        yield item


def stream(shape: Shape, items: AsyncGenerator[ChoiceEvent, None], *, include_usage: bool = True) -> list[Any]:
    async def collect() -> list[bytes]:
        return [line async for line in stream_lines(shape, await anext(items), items, include_usage)]

    lines = [line.decode().removeprefix("data: ").strip() for line in asyncio.run(collect())]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_says_the_same_as_the_whole(assistant: Assistant, kind: str) -> None:
    made, call, events = asked(assistant, kind)
    whole = json.loads(asyncio.run(whole_reply(made(call, assistant.deployment), each(events))))
    chunks = stream(made(call, assistant.deployment), each(events))
    assert {chunk["id"] for chunk in chunks} == {whole["id"]} and len({chunk["created"] for chunk in chunks}) == 1
    head = set(whole) - {"choices", "usage", "genwerk"}
    assert all(head <= set(chunk) for chunk in chunks) and ("service_tier" in head) is (kind == "chat")
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], whole["usage"])
    for choice in whole["choices"]:
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        said = [part["delta"].get("content", "") if kind == "chat" else part["text"] for part in parts]
        assert "".join(said) == (choice["message"]["content"] if kind == "chat" else choice["text"])
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        told = [part["logprobs"] for part in parts if part["logprobs"]]
        for name in choice["logprobs"].keys() - {"refusal"}:
            assert [one for logprobs in told for one in logprobs[name]] == choice["logprobs"][name]
    assert "usage" not in stream(made(call, assistant.deployment), each(events), include_usage=False)[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_the_last_event(assistant: Assistant, kind: str) -> None:
    made, call, events = asked(assistant, kind)

    async def broken() -> AsyncGenerator[ChoiceEvent, None]:
        for item in events[:3]:
            yield item
        raise RequestError("the model has no more", code="context_length_exceeded")

    chunks = stream(made(call, assistant.deployment), broken())
    assert [chunk["error"]["code"] for chunk in chunks if "error" in chunk] == ["context_length_exceeded"]
    assert "error" in chunks[-1]
