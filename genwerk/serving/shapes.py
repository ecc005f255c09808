"""A reply goes out whole, or line by line as it comes; what its objects look like is its shape's business."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from anyio.to_thread import run_sync

from genwerk.serving.choices import ChoiceEvent
from genwerk.serving.errors import describe
from genwerk.serving.openai_reply import encode_json
from genwerk.serving.streaming import event

__all__ = ["Shape", "stream_lines", "whole_reply"]


class Shape(Protocol):
    """The answers to one request as one of OpenAI's objects."""

    def keep(self, item: ChoiceEvent) -> None:
        """Remember an event."""
        ...

    def chunk(self, item: ChoiceEvent) -> dict[str, Any] | None:
        """What a stream says of the event that was kept last, if anything. To be called once for each."""
        ...

    def whole(self) -> dict[str, Any]:
        """All answers, once they are finished."""
        ...

    def usage_chunk(self) -> dict[str, Any]:
        """The chunk without choices that `stream_options.include_usage` asks for."""
        ...


async def whole_reply(shape: Shape, events: AsyncGenerator[ChoiceEvent, None]) -> bytes:
    """All answers as one object, which is made and spelled in a thread."""
    async for item in events:
        shape.keep(item)
    return await run_sync(lambda: encode_json(shape.whole()))


async def stream_lines(
    shape: Shape, first: ChoiceEvent, events: AsyncGenerator[ChoiceEvent, None], include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The lines of a stream, from the event that has come `first`."""

    def line(item: ChoiceEvent) -> bytes:
        shape.keep(item)
        chunk = shape.chunk(item)
        return b"" if chunk is None else event(chunk | {"usage": None} if include_usage else chunk)

    async with contextlib.aclosing(events):
        try:
            if said := line(first):
                yield said
            async for item in events:
                if said := line(item):
                    yield said
            if include_usage:
                yield event(shape.usage_chunk())
        except Exception as error:  # the status has been sent; the error goes out as an event of its own
            yield event(describe(error)[1])
        yield event("[DONE]")
