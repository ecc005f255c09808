"""Replies to chats in OpenAI's shape. What is ours stands under `genwerk`, beside the choices or in each of several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from genwerk.inference.generation import TokenLogprob
from genwerk.serving.assistant import Finished, Found, Piece, Started, Thought
from genwerk.serving.choices import ChoiceEvent
from genwerk.serving.deployment import Deployment
from genwerk.serving.openai_reply import finite, passage_json, sentence_json, token_text, usage_json
from genwerk.serving.openai_request import ChatCall
from genwerk.serving.told import Choice, Told

__all__ = ["ChatReply"]


class ChatReply:
    """The answers to one chat. See `Shape`."""

    def __init__(self, call: ChatCall, deployment: Deployment) -> None:
        self._tokenizer, self._told = deployment.engine.tokenizer, Told(deployment, call.model, call.several.n)

    def keep(self, item: ChoiceEvent) -> None:
        self._told.keep(item)

    def chunk(self, item: ChoiceEvent) -> dict[str, Any] | None:
        choice, event = self._told.choices[item.index], item.event
        match event:
            case Started():
                delta = {"role": "assistant", "content": "", "refusal": None}
                return self._chunk(item.index, delta, extra=choice.first_extra())
            case Found(passages):
                return self._chunk(item.index, {}, extra={"passages": [passage_json(one) for one in passages]})
            case Thought(text):  # under the name that OpenAI-compatible servers give it
                return self._chunk(item.index, {"reasoning_content": text})
            case Piece():
                extra = sentence_json(event)
                if event.citation is not None:
                    extra["citation"] = choice.citation(event.citation, event.number)
                ours = extra if event.number or event.quoted else None
                return self._chunk(item.index, {"content": event.text}, extra=ours, logprobs=event.logprobs)
            case Finished():
                reason = event.reply.finish_reason
                return self._chunk(item.index, {}, finish_reason=reason, extra=choice.extra())

    def whole(self) -> dict[str, Any]:
        told = self._told.in_order()
        choices = [
            self._choice(index, choice) | ({"genwerk": choice.extra()} if len(told) > 1 else {})
            for index, choice in told
        ]
        first, head = told[0][1], self._head("chat.completion")
        body = head | {"choices": choices, "usage": usage_json(self._told.usage()), "genwerk": first.extra()}
        scored = first.whole.prompt_logprobs
        return body | ({"prompt_logprobs": [self._ranked(one) for one in scored]} if scored else {})

    def usage_chunk(self) -> dict[str, Any]:
        return self._head("chat.completion.chunk") | {"choices": [], "usage": usage_json(self._told.usage())}

    def _head(self, kind: str) -> dict[str, Any]:
        return self._told.head(kind, "chatcmpl") | {"service_tier": None}

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        reply = choice.whole.reply
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        if choice.thinking:
            message["reasoning_content"] = choice.thinking
        logprobs = self._logprobs(one for piece in choice.pieces for one in piece.logprobs)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reply.finish_reason}

    def _chunk(
        self, index: int, delta: dict[str, Any], *, finish_reason: str | None = None,
        extra: dict[str, Any] | None = None, logprobs: Iterable[TokenLogprob] = (),
    ) -> dict[str, Any]:  # fmt: skip
        found = self._logprobs(logprobs)
        choice = {"index": index, "delta": delta, "logprobs": found, "finish_reason": finish_reason}
        chunk = self._head("chat.completion.chunk") | {"choices": [choice]}
        return chunk if extra is None else chunk | {"genwerk": extra}

    def _logprobs(self, found: Iterable[TokenLogprob]) -> dict[str, Any] | None:
        content = [
            {**self._token(item.token, item.logprob), "top_logprobs": [self._token(*other) for other in item.top]}
            for item in found
        ]
        return {"content": content, "refusal": None} if content else None

    def _ranked(self, found: TokenLogprob | None) -> dict[str, Any] | None:
        """As vLLM gives it: the likeliest tokens of a place in the prompt and its own, by token id."""
        if found is None:
            return None
        ranks: dict[int, tuple[int | None, float]] = {found.token: (None, found.logprob)}
        ranks |= {other.token: (rank, other.logprob) for rank, other in enumerate(found.top, start=1)}
        return {
            str(token): {"logprob": finite(logprob), "rank": rank, "decoded_token": token_text(self._tokenizer, token)}
            for token, (rank, logprob) in ranks.items()
        }

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        spelled = list(self._tokenizer.token_bytes(token))
        return {"token": token_text(self._tokenizer, token), "logprob": finite(logprob), "bytes": spelled}
