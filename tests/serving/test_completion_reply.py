"""Invariant: tokens are told where they stand in the text, and nothing of a whole one is spelled on the event loop."""

from __future__ import annotations

import asyncio
import codecs
import json
import threading
from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from typing import Any

import pytest

from genwerk.core.types import Usage
from genwerk.inference.generation import Delta, TokenLogprob
from genwerk.serving.assistant import Assistant
from genwerk.serving.choices import ChoiceEvent
from genwerk.serving.completion_reply import CompletionReply
from genwerk.serving.completion_request import CompletionCall, answer_prompts, parse_completion
from genwerk.serving.shapes import stream_lines, whole_reply
from genwerk.tokenizers.tokenizer import Tokenizer

SAYINGS = (
    "Please write to the desk today. It is fine. Good bye.",
    "Please write to ada@example.org today. It is fine, they say. Good bye.",
    "It is fine. Please write to ada@example.org today. She is in. Or mail bob@example.org here. Good bye. And so on.",
    "It is 😀 and 𝄞 fine. 😀 Yes 𝄞𝄞. Please write to ada@example.org today. 😀😀 fine. Good bye 𝄞",
)


class Telling:
    """An engine that says a fixed text with the log-probability of each of its tokens."""

    def __init__(self, engine: Any, text: str) -> None:
        self._engine, self._text = engine, text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def stream(self, request: Any) -> Generator[Delta, None, None]:
        tokenizer, decoder = self._engine.tokenizer, codecs.getincrementaldecoder("utf-8")()
        tokens = tokenizer.encode(self._text)
        scores = (None, *(TokenLogprob(token, -1.0, ()) for token in tokenizer.encode(request.messages[0].content)[1:]))
        for place, token in enumerate(tokens, start=1):
            end = "stop" if place == len(tokens) else None
            logprob, text = TokenLogprob(token, -1.0, ()), decoder.decode(tokenizer.token_bytes(token))
            asked = scores if place == 1 and request.sampling.prompt_logprobs is not None else ()
            yield Delta(text, token, logprob, end, Usage(9, place) if end else None, prompt_logprobs=asked)


@pytest.mark.parametrize("said", SAYINGS)
def test_tokens_stand_in_the_text_where_they_are_told_to(assistant: Assistant, said: str) -> None:
    deployment = replace(assistant.deployment, engine=Telling(assistant.deployment.engine, said))  # type: ignore
    told, changed = Assistant(deployment, assistant.log), "@" in said

    def events(call: CompletionCall) -> AsyncGenerator[ChoiceEvent, None]:
        async def each() -> AsyncGenerator[ChoiceEvent, None]:
            for item in answer_prompts(told, call, threading.Event()):
                yield item

        return each()

    async def whole(call: CompletionCall) -> Any:
        return json.loads(await whole_reply(CompletionReply(call, deployment), events(call)))["choices"][0]

    async def streamed(call: CompletionCall) -> list[Any]:
        items, shape = events(call), CompletionReply(call, deployment)
        lines = [line async for line in stream_lines(shape, await anext(items), items, False)]
        return [json.loads(line[6:])["choices"][0] for line in lines[:-1]]

    asked = {"model": "handbook-base", "prompt": "A clef 𝄞 it is, ", "max_tokens": 200, "logprobs": 0}
    plain = asyncio.run(whole(parse_completion(asked, deployment)))
    text, shown = plain["text"], plain["logprobs"]
    assert ("[email]" in text) is changed and len(shown["tokens"]) > 8
    for token, start, further in zip(
        shown["tokens"], shown["text_offset"], [*shown["text_offset"][1:], None], strict=True
    ):
        assert "\ufffd" in token or text.startswith(token, start), (token, start)
        assert further is None or further >= start
    chunks = asyncio.run(streamed(parse_completion(asked | {"stream": True}, deployment)))
    assert "".join(chunk["text"] for chunk in chunks) == text and len(chunks) > 3
    starts = [start for chunk in chunks if chunk["logprobs"] for start in chunk["logprobs"]["text_offset"]]
    assert starts == shown["text_offset"]
    echoed = asyncio.run(whole(parse_completion(asked | {"echo": True}, deployment)))
    size = len(echoed["logprobs"]["tokens"]) - len(starts)
    assert echoed["logprobs"]["text_offset"][size:] == [start + len(asked["prompt"]) for start in starts]
    assert echoed["text"] == asked["prompt"] + text


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
    whole = json.loads(asyncio.run(whole_reply(CompletionReply(call, assistant.deployment), events())))
    assert len(whole["choices"]) == 2 and whole["choices"][0]["logprobs"]["tokens"]
    assert spelled and threading.get_ident() not in spelled
