"""The parts that replies in OpenAI's shapes are made of."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from genwerk.core.types import Receipt, Usage, Verdict
from genwerk.data.places import place_of_span
from genwerk.data.sections import headings_over
from genwerk.guardrails.guard import outcome
from genwerk.serving.assistant import Passage, Piece
from genwerk.tokenizers.tokenizer import Tokenizer


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token by itself; where it ends within a character, U+FFFD stands for its bytes."""
    return tokenizer.token_bytes(token).decode("utf-8", "replace")


def finite(logprob: float) -> float:
    """A log-probability as JSON can hold it: -9999 for what cannot come."""
    return max(logprob, -9999.0)


def encode_json(body: Mapping[str, Any]) -> bytes:
    """A reply as JSON, each entry of its lists by itself: json.dumps lets no other thread run until it is done."""
    parts = []
    for name, value in body.items():
        spelled = b"[" + b",".join(map(_spell, value)) + b"]" if isinstance(value, list) else _spell(value)
        parts.append(_spell(name) + b":" + spelled)
    return b"{" + b",".join(parts) + b"}"


def _spell(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


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
        "headings": headings_over(document, chunk.start, chunk.end),
        "place": place_of_span(document, chunk.start, chunk.end), "score": float(passage.result.score),
        "arm": passage.result.source,
    }  # fmt: skip


def sentence_json(piece: Piece) -> dict[str, Any]:
    """What is said of one sentence beside its text: its citation's number, and how well the quote holds it."""
    held = piece.support
    said: dict[str, Any] = {"number": piece.number, "quoted": piece.quoted}
    if held is not None:
        said["grounding"] = {"score": held.score, "words": held.words, "cosine": held.cosine}
    return said if piece.agreed is None else said | {"agreed": piece.agreed}


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
