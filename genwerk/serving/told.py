"""What has been told of the answers to one request, before it has either of OpenAI's shapes.

`genwerk` holds what is ours in both: sources, verdicts, receipt, the id to trace by.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from genwerk.core.types import Citation, Usage
from genwerk.data.sections import headings_over
from genwerk.serving.assistant import Finished, Found, Passage, Piece, Started, Thought
from genwerk.serving.choices import ChoiceEvent
from genwerk.serving.deployment import Deployment
from genwerk.serving.openai_reply import passage_json, receipt_json, sentence_json, title_of, verdict_json

__all__ = ["Choice", "Told"]


@dataclass
class Choice:
    """One answer as it comes."""

    started: Started
    passages: tuple[Passage, ...] = ()
    thinking: str = ""
    pieces: list[Piece] = field(default_factory=list)
    finished: Finished | None = None

    @property
    def whole(self) -> Finished:
        """Its last event, which has come."""
        assert self.finished is not None
        return self.finished

    def first_extra(self) -> dict[str, Any]:
        """What is ours as soon as it starts."""
        return self._who() | {"verdicts": [verdict_json(verdict) for verdict in self.started.verdicts]}

    def extra(self) -> dict[str, Any]:
        """What is ours, in full."""
        reply, support = self.whole.reply, self.whole.support
        return {
            **self._who(),
            **({} if support is None else {"support": support}),
            "abstained": reply.abstained,
            "citations": [self.citation(cited, number) for number, cited in enumerate(reply.citations, start=1)],
            "sentences": [{"text": one.text.strip(), **sentence_json(one)} for one in self.pieces if one.number],
            "verdicts": [verdict_json(verdict) for verdict in reply.verdicts],
            "passages": [passage_json(passage) for passage in self.passages],
            "receipt": receipt_json(reply.receipt),
        }

    def citation(self, citation: Citation, number: int) -> dict[str, Any]:
        """A citation with its document's title and the headings it stands under."""
        cited = next((item.document for item in self.passages if item.document.id == citation.document_id), None)
        title = title_of(cited.metadata if cited else {}, citation.source)
        headings = headings_over(cited, citation.start, citation.end) if cited else []
        return {"number": number, "title": title, "headings": headings, **asdict(citation)}

    def _who(self) -> dict[str, Any]:
        started, receipt = self.started, self.started.receipt
        return {
            "answer_id": started.answer_id, "mode": started.mode, "model": receipt.model, "adapter": receipt.adapter,
        }  # fmt: skip


class Told:
    """All choices of one request, `n` to each of its prompts. Its id is that of the first."""

    def __init__(self, deployment: Deployment, model: str, n: int) -> None:
        self._deployment, self._model, self._n, self._created = deployment, model, n, int(time.time())
        self.choices: dict[int, Choice] = {}

    def keep(self, item: ChoiceEvent) -> Choice:
        """Remember an event; the choice that it is about."""
        event = item.event
        if isinstance(event, Started):
            self.choices[item.index] = Choice(event)
        choice = self.choices[item.index]
        match event:
            case Found(passages):
                choice.passages = passages
            case Thought(text):
                choice.thinking += text
            case Piece():
                choice.pieces.append(event)
            case Finished():
                choice.finished = event
        return choice

    def in_order(self) -> list[tuple[int, Choice]]:
        """The choices with their places."""
        return sorted(self.choices.items())

    def head(self, kind: str, prefix: str) -> dict[str, Any]:
        """What every object about them begins with."""
        first = next(iter(self.choices.values())).started
        return {
            "id": f"{prefix}-{first.answer_id.removeprefix('ans-')}", "object": kind, "created": self._created,
            "model": self._model, "system_fingerprint": self._deployment.fingerprint,
        }  # fmt: skip

    def usage(self) -> Usage:
        """Each prompt counts once, each answer by itself."""
        prompts, written = dict[int, int](), 0
        for index, choice in self.choices.items():
            if choice.finished is not None:
                used, prompt = choice.finished.reply.usage, index // self._n
                prompts[prompt] = max(prompts.get(prompt, 0), used.prompt_tokens)
                written += used.completion_tokens
        return Usage(sum(prompts.values()), written)
