"""Replies in OpenAI's shape. What is ours stands under `genwerk`: sources, verdicts, receipt, the id to trace by."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from genwerk.core.types import Citation, Receipt, Reply, Usage, Verdict
from genwerk.guardrails.guard import outcome
from genwerk.inference.engine import TokenLogprob
from genwerk.serving.assistant import Found, Passage, Piece, Started
from genwerk.serving.deployment import Deployment


@dataclass
class ChatShape:
    """Shapes one answer: the chunks of its stream, or the whole completion."""

    deployment: Deployment
    model: str
    started: Started
    passages: tuple[Passage, ...] = ()
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def id(self) -> str:
        return f"chatcmpl-{self.started.answer_id.removeprefix('ans-')}"

    def first_chunk(self) -> dict[str, Any]:
        """The chunk with the role, the input guards' verdicts and the id of the answer."""
        extra = {**self._who(), "verdicts": [verdict_json(verdict) for verdict in self.started.verdicts]}
        return self._chunk({"role": "assistant", "content": "", "refusal": None}, extra=extra)

    def found_chunk(self, found: Found) -> dict[str, Any]:
        """The retrieved passages, before the first word."""
        self.passages = found.passages
        return self._chunk({}, extra={"passages": [passage_json(passage) for passage in found.passages]})

    def piece_chunk(self, piece: Piece) -> dict[str, Any]:
        """Text, with its citation."""
        extra: dict[str, Any] = {"number": piece.number, "quoted": piece.quoted}
        if piece.citation is not None:
            extra["citation"] = self._citation(piece.citation, piece.number)
        chunk = self._chunk({"content": piece.text}, extra=extra if piece.number or piece.quoted else None)
        chunk["choices"][0]["logprobs"] = self._logprobs(piece.logprobs)
        return chunk

    def last_chunk(self, reply: Reply) -> dict[str, Any]:
        """The reason it ended, and everything of ours in full."""
        return self._chunk({}, finish_reason=reply.finish_reason, extra=self._extra(reply))

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        """The chunk without choices that `stream_options.include_usage` asks for."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage_json(usage)}

    def completion(self, reply: Reply, logprobs: Sequence[TokenLogprob] = ()) -> dict[str, Any]:
        """The whole answer as one object."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        choice = {
            "index": 0, "message": message, "logprobs": self._logprobs(logprobs), "finish_reason": reply.finish_reason,
        }  # fmt: skip
        head = self._head("chat.completion")
        return {**head, "choices": [choice], "usage": usage_json(reply.usage), "genwerk": self._extra(reply)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id, "object": kind, "created": self.created, "model": self.model,
            "system_fingerprint": self.deployment.fingerprint, "service_tier": None,
        }  # fmt: skip

    def _chunk(
        self, delta: dict[str, Any], *, finish_reason: str | None = None, extra: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return chunk if extra is None else {**chunk, "genwerk": extra}

    def _who(self) -> dict[str, Any]:
        receipt = self.started.receipt
        return {
            "answer_id": self.started.answer_id, "mode": self.started.mode, "model": receipt.model,
            "adapter": receipt.adapter,
        }  # fmt: skip

    def _extra(self, reply: Reply) -> dict[str, Any]:
        cited = [self._citation(citation, number) for number, citation in enumerate(reply.citations, start=1)]
        return {
            **self._who(),
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

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        raw = self.deployment.engine.tokenizer.token_bytes(token)
        return {"token": raw.decode("utf-8", "replace"), "logprob": max(logprob, -9999.0), "bytes": list(raw)}


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
