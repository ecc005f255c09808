"""Replies to completions in OpenAI's older shape. What is ours stands under `genwerk` in each choice."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyio.to_thread import run_sync

from genwerk.core.types import Message, Usage
from genwerk.inference.engine import TokenLogprob
from genwerk.inference.prompts import encode_messages, raw_text
from genwerk.serving.assistant import Finished, Piece, Started
from genwerk.serving.choices import ChoiceEvent
from genwerk.serving.completion_request import CompletionCall
from genwerk.serving.deployment import Deployment
from genwerk.serving.errors import describe
from genwerk.serving.offsets import Offsets, Place
from genwerk.serving.openai_reply import ChatShape, encode_json, finite, token_text, usage_json
from genwerk.serving.streaming import event

__all__ = ["completion_lines", "whole_text_completion"]


@dataclass
class _Choice:
    """One answer as it comes."""

    shape: ChatShape
    prompt: Message
    offsets: Offsets
    pieces: list[Piece] = field(default_factory=list)
    finished: Finished | None = None


class _Reply:
    """All choices of one request."""

    def __init__(self, call: CompletionCall, deployment: Deployment) -> None:
        self._call, self._deployment = call, deployment
        self._tokenizer = deployment.engine.tokenizer
        self.choices: dict[int, _Choice] = {}

    def keep(self, item: ChoiceEvent) -> None:
        """Remember an event."""
        if isinstance(item.event, Started):
            first = next(iter(self.choices.values()), None)
            shape = ChatShape(self._deployment, self._call.model, item.event, item.index,
                              first.shape.id if first else "")  # fmt: skip
            prompt = self._call.asks[item.index // self._call.several.n].messages[0]
            self.choices[item.index] = _Choice(shape, prompt, Offsets(self._tokenizer))
        elif isinstance(item.event, Piece):
            self.choices[item.index].pieces.append(item.event)
        elif isinstance(item.event, Finished):
            self.choices[item.index].finished = item.event

    def chunk(self, item: ChoiceEvent) -> dict[str, Any] | None:
        """What a stream says of an event that was kept, if anything."""
        choice = self.choices[item.index]
        if isinstance(item.event, Started):
            return self._chunk(item.index, raw_text(self._tokenizer, choice.prompt)) if self._call.echo else None
        if isinstance(item.event, Piece):
            return self._chunk(item.index, item.event.text, places=choice.offsets.of_piece(item.event))
        if isinstance(item.event, Finished):
            extra = {"genwerk": choice.shape.extra(item.event)}
            return self._chunk(item.index, "", finish_reason=item.event.reply.finish_reason) | extra
        return None

    def whole(self) -> dict[str, Any]:
        """The completion, once all are finished."""
        choices = [self._whole_choice(index, choice) for index, choice in sorted(self.choices.items())]
        return self._head() | {"choices": choices, "usage": usage_json(self.usage())}

    def usage_chunk(self) -> dict[str, Any]:
        """The chunk without choices that `stream_options.include_usage` asks for."""
        return self._head() | {"choices": [], "usage": usage_json(self.usage())}

    def usage(self) -> Usage:
        """Each prompt counts once, each answer by itself."""
        used = [(index, choice.finished.reply.usage) for index, choice in self.choices.items() if choice.finished]
        prompts = sum(usage.prompt_tokens for index, usage in used if index % self._call.several.n == 0)
        return Usage(prompts, sum(usage.completion_tokens for _, usage in used))

    def _whole_choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        assert choice.finished is not None
        before, places, offsets = "", list[Place](), Offsets(self._tokenizer)
        if self._call.echo:
            before = raw_text(self._tokenizer, choice.prompt)
            if found := choice.finished.prompt_logprobs:
                first = encode_messages(self._tokenizer, [choice.prompt])[0]
                tokens = [first if one is None else one.token for one in found]
                before = self._tokenizer.decode(tokens, skip_special=False)
                places = list(map(offsets.place, tokens, found))
            offsets = Offsets(self._tokenizer, len(before))
        for piece in choice.pieces:
            places += offsets.of_piece(piece)
        return {
            "text": before + "".join(piece.text for piece in choice.pieces), "index": index,
            "logprobs": self._logprobs(places), "finish_reason": choice.finished.reply.finish_reason,
            "genwerk": choice.shape.extra(choice.finished),
        }  # fmt: skip

    def _chunk(
        self, index: int, text: str, *, places: Sequence[Place] = (), finish_reason: str | None = None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(places)
        choice = {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._head() | {"choices": [choice]}

    def _head(self) -> dict[str, Any]:
        shape = next(iter(self.choices.values())).shape
        head = shape.head("text_completion")
        return {key: value for key, value in head.items() if key != "service_tier"} | {
            "id": shape.id.replace("chatcmpl-", "cmpl-")
        }

    def _logprobs(self, places: Sequence[Place]) -> dict[str, Any] | None:
        """Lists as long as there are tokens; the first token of a prompt has no log-probability."""
        if not places:
            return None
        tokens = [token_text(self._tokenizer, place.token) for place in places]
        found = [place.logprob for place in places]
        top = [None if one is None else self._likeliest(one) for one in found]
        own = [None if one is None else finite(one.logprob) for one in found]
        starts = [place.start for place in places]
        return {"tokens": tokens, "token_logprobs": own, "top_logprobs": top, "text_offset": starts}

    def _likeliest(self, one: TokenLogprob) -> dict[str, float]:
        """By text; of tokens with one text the likeliest."""
        found: dict[str, float] = {}
        for token, logprob in (*one.top, (one.token, one.logprob)):
            found.setdefault(token_text(self._tokenizer, token), finite(logprob))
        return found


async def whole_text_completion(
    call: CompletionCall, deployment: Deployment, events: AsyncGenerator[ChoiceEvent, None]
) -> bytes:
    """All answers as one object, which is made and spelled in a thread."""
    reply = _Reply(call, deployment)
    async for item in events:
        reply.keep(item)
    return await run_sync(lambda: encode_json(reply.whole()))


async def completion_lines(
    call: CompletionCall, deployment: Deployment, first: ChoiceEvent, events: AsyncGenerator[ChoiceEvent, None]
) -> AsyncGenerator[bytes, None]:
    """The lines of a stream."""
    reply = _Reply(call, deployment)

    def lines(item: ChoiceEvent) -> list[bytes]:
        reply.keep(item)
        chunk = reply.chunk(item)
        return [] if chunk is None else [event(chunk | {"usage": None} if call.include_usage else chunk)]

    async with contextlib.aclosing(events):
        try:
            for line in lines(first):
                yield line
            async for item in events:
                for line in lines(item):
                    yield line
            if call.include_usage:
                yield event(reply.usage_chunk())
        except Exception as error:  # the status has been sent; the error goes out as an event of its own
            yield event(describe(error)[1])
        yield event("[DONE]")
