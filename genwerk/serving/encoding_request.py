"""Requests for vectors and for scores: embeddings in OpenAI's shape, rerank in that of Cohere, Jina and vLLM.

POST /v1/rerank  {"model": "minilm", "query": "…", "documents": ["…", {"text": "…"}], "top_n": 3}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genwerk.serving.fields import flag, invalid, is_ids, refuse_unserved, text

__all__ = ["EmbeddingCall", "RerankCall", "parse_embeddings", "parse_rerank"]

_MOST = 2048


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    """An embeddings request, checked. `dimensions`: how many are asked for; None: as many as there are."""

    texts: tuple[str, ...]
    model: str
    base64: bool
    dimensions: int | None


@dataclass(frozen=True, slots=True)
class RerankCall:
    """A rerank request, checked. `shown`: whether the documents come back with their scores."""

    query: str
    documents: tuple[str, ...]
    model: str
    top_n: int
    shown: bool


def parse_embeddings(body: Mapping[str, Any]) -> EmbeddingCall:
    """Check an embeddings request. Raises RequestError."""
    refuse_unserved(body, frozenset(("model", "input", "encoding_format", "dimensions", "user")))
    model = text(body, "model", required=True)
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if is_ids(given) or (isinstance(given, list) and any(map(is_ids, given))):
        raise invalid("input", "lists of token ids are not taken", "Send the text itself.")
    if not isinstance(texts, list) or not texts or not all(isinstance(item, str) for item in texts):
        raise invalid("input", "it must be a string or a list of strings")
    if any(not item.strip() for item in texts):
        raise invalid("input", "an empty text has no embedding")
    if len(texts) > _MOST:
        raise invalid("input", f"{len(texts)} texts at once", f"Send at most {_MOST}.")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise invalid("encoding_format", f"it is {encoding!r}", "Use float or base64.")
    text(body, "user")
    return EmbeddingCall(tuple(texts), model, encoding == "base64", body.get("dimensions"))


def parse_rerank(body: Mapping[str, Any]) -> RerankCall:
    """Check a rerank request. Raises RequestError."""
    refuse_unserved(body, frozenset(("model", "query", "documents", "top_n", "return_documents", "user")))
    model, query = text(body, "model", required=True), text(body, "query", required=True)
    if not query.strip():
        raise invalid("query", "it is empty")
    given = body.get("documents")
    if not isinstance(given, list) or not given:
        raise invalid("documents", "it must be a list of strings, or of objects with `text`")
    documents = tuple(_document(item, place) for place, item in enumerate(given))
    if len(documents) > _MOST:
        raise invalid("documents", f"{len(documents)} at once", f"Send at most {_MOST}.")
    top_n = body.get("top_n")
    if top_n is not None and (not isinstance(top_n, int) or isinstance(top_n, bool) or top_n < 1):
        raise invalid("top_n", f"it is {top_n!r}", "It must be a whole number from 1.")
    text(body, "user")
    shown = flag(body, "return_documents", False)
    return RerankCall(query, documents, model, min(top_n or len(documents), len(documents)), shown)


def _document(item: object, place: int) -> str:
    held = item.get("text") if isinstance(item, dict) and set(item) == {"text"} else item
    if not isinstance(held, str) or not held.strip():
        raise invalid(
            f"documents[{place}]", "it must be a text that is not empty, or an object with nothing but `text`"
        )
    return held
