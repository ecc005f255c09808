"""Replies to completions in OpenAI's older shape. What is ours stands under `genwerk` in each choice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from genwerk.core.types import Message
from genwerk.inference.generation import TokenLogprob
from genwerk.inference.prompts import encode_messages, raw_text
from genwerk.serving.assistant import Finished, Piece, Started
from genwerk.serving.choices import ChoiceEvent
from genwerk.serving.completion_request import CompletionCall
from genwerk.serving.deployment import Deployment
from genwerk.serving.offsets import Offsets, Place
from genwerk.serving.openai_reply import finite, token_text, usage_json
from genwerk.serving.told import Choice, Told

__all__ = ["CompletionReply"]


class CompletionReply:
    """The answers to the prompts of one request. See `Shape`."""

    def __init__(self, call: CompletionCall, deployment: Deployment) -> None:
        self._call, self._tokenizer = call, deployment.engine.tokenizer
        self._told = Told(deployment, call.model, call.several.n)
        self._offsets: dict[int, Offsets] = {}  # of choices that are streamed
        self._first_token = cache(self._read_first_token)

    def keep(self, item: ChoiceEvent) -> None:
        self._told.keep(item)

    def chunk(self, item: ChoiceEvent) -> dict[str, Any] | None:
        index, event = item.index, item.event
        match event:
            case Started():
                self._offsets[index] = Offsets(self._tokenizer)
                return self._chunk(index, raw_text(self._tokenizer, self._prompt(index))) if self._call.echo else None
            case Piece():
                return self._chunk(index, event.text, places=self._offsets[index].of_piece(event))
            case Finished():
                extra = {"genwerk": self._told.choices[index].extra()}
                return self._chunk(index, "", finish_reason=event.reply.finish_reason) | extra
        return None

    def whole(self) -> dict[str, Any]:
        choices = [self._choice(index, choice) for index, choice in self._told.in_order()]
        return self._head() | {"choices": choices, "usage": usage_json(self._told.usage())}

    def usage_chunk(self) -> dict[str, Any]:
        return self._head() | {"choices": [], "usage": usage_json(self._told.usage())}

    def _head(self) -> dict[str, Any]:
        return self._told.head("text_completion", "cmpl")

    def _prompt(self, index: int) -> Message:
        return self._call.asks[index // self._call.several.n].messages[0]

    def _read_first_token(self, prompt: Message) -> int:
        """The one whose log-probability nobody knows, and which is therefore not told."""
        return encode_messages(self._tokenizer, [prompt])[0]

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        before, places, offsets = "", list[Place](), Offsets(self._tokenizer)
        if self._call.echo:
            prompt, found = self._prompt(index), choice.whole.prompt_logprobs
            before = raw_text(self._tokenizer, prompt)
            if found:
                first = self._first_token(prompt)
                tokens = [first if one is None else one.token for one in found]
                before = self._tokenizer.decode(tokens, skip_special=False)
                places = list(map(offsets.place, tokens, found))
            offsets = Offsets(self._tokenizer, len(before))
        for piece in choice.pieces:
            places += offsets.of_piece(piece)
        return {
            "text": before + "".join(piece.text for piece in choice.pieces), "index": index,
            "logprobs": self._logprobs(places), "finish_reason": choice.whole.reply.finish_reason,
            "genwerk": choice.extra(),
        }  # fmt: skip

    def _chunk(
        self, index: int, text: str, *, places: Sequence[Place] = (), finish_reason: str | None = None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(places)
        choice = {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._head() | {"choices": [choice]}

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
