"""Replies in OpenAI's shape. What is ours stands under `genwerk`: sources, verdicts, receipt, the id to trace by."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from genwerk.core.types import Citation, Receipt, Reply, Usage, Verdict
from genwerk.guardrails.guard import outcome
from genwerk.inference.engine import TokenLogprob
from genwerk.serving.assistant import Finished, Found, Passage, Piece, Started
from genwerk.serving.deployment import Deployment
from genwerk.tokenizers.tokenizer import Tokenizer


@dataclass
class ChatShape:
    """Shapes one answer: the chunks of its stream, or the whole completion."""

    deployment: Deployment
    model: str
    started: Started
    index: int = 0
    whole_id: str = ""
    thinking: str = ""
    passages: tuple[Passage, ...] = ()
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def id(self) -> str:
        """That of the whole completion: its first answer's."""
        return self.whole_id or f"chatcmpl-{self.started.answer_id.removeprefix('ans-')}"

    def first_chunk(self) -> dict[str, Any]:
        """The chunk with the role, the input guards' verdicts and the id of the answer."""
        extra = {**self._who(), "verdicts": [verdict_json(verdict) for verdict in self.started.verdicts]}
        return self._chunk({"role": "assistant", "content": "", "refusal": None}, extra=extra)

    def found_chunk(self, found: Found) -> dict[str, Any]:
        """The retrieved passages, before the first word."""
        self.passages = found.passages
        return self._chunk({}, extra={"passages": [passage_json(passage) for passage in found.passages]})

    def thought_chunk(self, text: str) -> dict[str, Any]:
        """What the model thinks, under the name that OpenAI-compatible servers give it."""
        return self._chunk({"reasoning_content": text})

    def piece_chunk(self, piece: Piece) -> dict[str, Any]:
        """Text, with its citation."""
        extra: dict[str, Any] = {"number": piece.number, "quoted": piece.quoted}
        if piece.citation is not None:
            extra["citation"] = self._citation(piece.citation, piece.number)
        chunk = self._chunk({"content": piece.text}, extra=extra if piece.number or piece.quoted else None)
        chunk["choices"][0]["logprobs"] = self._logprobs(piece.logprobs)
        return chunk

    def last_chunk(self, finished: Finished) -> dict[str, Any]:
        """The reason it ended, and everything of ours in full."""
        return self._chunk({}, finish_reason=finished.reply.finish_reason, extra=self.extra(finished))

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        """The chunk without choices that `stream_options.include_usage` asks for."""
        return {**self.head("chat.completion.chunk"), "choices": [], "usage": usage_json(usage)}

    def choice(self, reply: Reply, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        """The whole answer as one of a completion's choices."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        if self.thinking:
            message["reasoning_content"] = self.thinking
        return {
            "index": self.index, "message": message, "logprobs": self._logprobs(logprobs),
            "finish_reason": reply.finish_reason,
        }  # fmt: skip

    def prompt_logprobs(self, finished: Finished) -> dict[str, Any]:
        """Log-probabilities of the prompt as vLLM gives them; nothing where they were not asked for."""
        found = finished.prompt_logprobs
        return {"prompt_logprobs": [self._ranked(one) for one in found]} if found else {}

    def head(self, kind: str) -> dict[str, Any]:
        """What every object of this completion begins with."""
        return {
            "id": self.id, "object": kind, "created": self.created, "model": self.model,
            "system_fingerprint": self.deployment.fingerprint, "service_tier": None,
        }  # fmt: skip

    def _chunk(
        self, delta: dict[str, Any], *, finish_reason: str | None = None, extra: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        choice = {"index": self.index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self.head("chat.completion.chunk"), "choices": [choice]}
        return chunk if extra is None else {**chunk, "genwerk": extra}

    def _who(self) -> dict[str, Any]:
        receipt = self.started.receipt
        return {
            "answer_id": self.started.answer_id, "mode": self.started.mode, "model": receipt.model,
            "adapter": receipt.adapter,
        }  # fmt: skip

    def extra(self, finished: Finished) -> dict[str, Any]:
        """What is ours about one answer."""
        reply = finished.reply
        support = {} if finished.support is None else {"support": finished.support}
        cited = [self._citation(citation, number) for number, citation in enumerate(reply.citations, start=1)]
        return {
            **self._who(),
            **support,
            "abstained": reply.abstained,
            "citations": cited,
            "verdicts": [verdict_json(verdict) for verdict in reply.verdicts],
            "passages": [passage_json(passage) for passage in self.passages],
            "receipt": receipt_json(reply.receipt),
        }

    def _citation(self, citation: Citation, number: int) -> dict[str, Any]:
        cited = [item.document for item in self.passages if item.document.id == citation.document_id]
        title = title_of(cited[0].metadata if cited else {}, citation.source)
        return {"number": number, "title": title, **asdict(citation)}

    def _logprobs(self, found: Iterable[TokenLogprob]) -> dict[str, Any] | None:
        content = [
            {**self._token(item.token, item.logprob), "top_logprobs": [self._token(*other) for other in item.top]}
            for item in found
        ]
        return {"content": content, "refusal": None} if content else None

    def _ranked(self, found: TokenLogprob | None) -> dict[str, Any] | None:
        """The likeliest tokens of a place in the prompt and the one that stands there, by token id."""
        if found is None:
            return None
        ranks: dict[int, tuple[int | None, float]] = {found.token: (None, found.logprob)}
        ranks |= {other.token: (rank, other.logprob) for rank, other in enumerate(found.top, start=1)}
        return {
            str(token): {"logprob": finite(logprob), "rank": rank,
                         "decoded_token": token_text(self.deployment.engine.tokenizer, token)}
            for token, (rank, logprob) in ranks.items()
        }  # fmt: skip

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        tokenizer = self.deployment.engine.tokenizer
        spelled = list(tokenizer.token_bytes(token))
        return {"token": token_text(tokenizer, token), "logprob": finite(logprob), "bytes": spelled}


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token by itself; where it ends within a character, U+FFFD stands for its bytes."""
    return tokenizer.token_bytes(token).decode("utf-8", "replace")


def finite(logprob: float) -> float:
    """A log-probability as JSON can hold it: -9999 for what cannot come."""
    return max(logprob, -9999.0)


def whole_completion(
    shapes: Mapping[int, ChatShape], finished: Mapping[int, Finished], logprobs: Mapping[int, Sequence[TokenLogprob]]
) -> dict[str, Any]:
    """All answers as one object. What is ours stands beside the choices for the first, in each where there are more."""
    first, used = shapes[0], Usage(0, 0)
    choices = []
    for index, shape in sorted(shapes.items()):
        reply = finished[index].reply
        extra = {"genwerk": shape.extra(finished[index])} if len(shapes) > 1 else {}
        choices.append(shape.choice(reply, logprobs[index]) | extra)
        used = add_usage(used, reply.usage)
    body = {**first.head("chat.completion"), "choices": choices, "usage": usage_json(used)}
    return {**body, "genwerk": first.extra(finished[0]), **first.prompt_logprobs(finished[0])}


def encode_json(body: Mapping[str, Any]) -> bytes:
    """A reply as JSON, each entry of its lists by itself: json.dumps lets no other thread run until it is done."""
    parts = []
    for name, value in body.items():
        spelled = b"[" + b",".join(map(_spell, value)) + b"]" if isinstance(value, list) else _spell(value)
        parts.append(_spell(name) + b":" + spelled)
    return b"{" + b",".join(parts) + b"}"


def _spell(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def add_usage(used: Usage, further: Usage) -> Usage:
    """Token counts of answers to one prompt, which is counted once."""
    return Usage(max(used.prompt_tokens, further.prompt_tokens), used.completion_tokens + further.completion_tokens)


def title_of(metadata: Any, source: str) -> str:
    """A document's title, or the last part of where it came from."""
    return str(metadata.get("title") or source.rstrip("/").rpartition("/")[2] or source)


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict for the client: what was decided and why, never the text it was about."""
    return {"rule": verdict.rule, "outcome": outcome(verdict), "reason": verdict.reason}


def passage_json(passage: Passage) -> dict[str, Any]:
    """A retrieved passage: where it stands, its text and its score."""
    document, chunk = passage.document, passage.result.chunk
    return {
        "document_id": document.id, "source": document.source, "title": title_of(document.metadata, document.source),
        "sha256": document.sha256, "start": chunk.start, "end": chunk.end, "text": passage.text,
        "score": float(passage.result.score), "arm": passage.result.source,
    }  # fmt: skip


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """All that `replay` needs beside the messages."""
    return asdict(receipt)


def usage_json(usage: Usage) -> dict[str, int]:
    """Token counts."""
    return {
        "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }  # fmt: skip


def embeddings_json(vectors: np.ndarray, model: str, tokens: int, *, as_base64: bool) -> dict[str, Any]:
    """vectors (N, D) float32 as OpenAI's list; base64 is of little-endian float32."""
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    data = [
        {
            "object": "embedding",
            "index": place,
            "embedding": base64.b64encode(row.tobytes()).decode() if as_base64 else row.tolist(),
        }
        for place, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}
