"""Several answers to one request, each past the guards and into the log on its own, and their events in one line.

The input guards look before anything is drawn; the model computes all answers together, one step for each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from genwerk.core.types import Request, Several
from genwerk.inference.several import Answer, Answers, take_turns
from genwerk.serving.assistant import Ask, Assistant, AssistantEvent, Source, until

__all__ = ["ChoiceEvent", "answer_several"]


@dataclass(frozen=True, slots=True)
class ChoiceEvent:
    """What happened to choice `index`."""

    index: int
    event: AssistantEvent


def answer_several(
    assistant: Assistant, ask: Ask, several: Several, stop: threading.Event | None = None
) -> Generator[ChoiceEvent, None, None]:
    """The events of `several.n` answers, one of each in turn; see `Assistant.answer`."""
    stop = stop or threading.Event()
    with closing(_Drawing(assistant, several, stop)) as drawing:
        streams = [assistant.answer(ask, stop, drawing.source(place)) for place in range(several.n)]
        try:
            for place, event in take_turns(streams):
                yield ChoiceEvent(place, event)
        finally:
            for events in streams:
                events.close()


class _Drawing:
    """The answers' streams, which are checked together when the first is asked for."""

    def __init__(self, assistant: Assistant, several: Several, stop: threading.Event) -> None:
        self._engine, self._several, self._stop = assistant.deployment.engine, several, stop
        self._answers: Answers | None = None

    def source(self, place: int) -> Source:
        def check(request: Request) -> Callable[[], Answer]:
            if self._answers is None:
                self._answers = Answers(lambda one: until(self._stop, self._engine.stream(one)), request, self._several)
            return partial(self._answers.open, place)

        return check

    def close(self) -> None:
        if self._answers is not None:
            self._answers.close()
