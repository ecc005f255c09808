"""The models of a deployment that read texts without answering them: for vectors, and for scores.

    embedding model    vectors, and scores as their likeness
    reranker           scores of a cross-encoder (`serve: {reranker: …}` in a recipe)
    base model         vectors as the mean of its states, where PyTorch runs it

They share the machine with the engine: one of them computes at a time, between two of its steps.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from genwerk.inference.decoder_embedding import DecoderEmbedder
from genwerk.retrieval.reranking import Scorer, VectorScorer
from genwerk.serving.deployment import Deployment
from genwerk.serving.encoding_request import EmbeddingCall, RerankCall
from genwerk.serving.fields import invalid, no_model
from genwerk.serving.openai_reply import embeddings_json

__all__ = ["Encoders"]


class Vectors(Protocol):
    """What answers a request for embeddings: reads texts, and makes a vector of each that was read."""

    dimension: int

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]: ...
    def embed_tokens(self, sequences: Sequence[Sequence[int]], user: str = "") -> np.ndarray: ...


class Encoders:
    """Any thread may use it. Where many ask, the user with the fewest tokens served is next."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._lock = deployment, threading.Lock()
        self._decoder: DecoderEmbedder | None = None

    def embeddings(self, call: EmbeddingCall, user: str = "") -> dict[str, Any]:
        """Raises RequestError: 404 for an unknown model, 400 for one that has no states or other dimensions."""
        vectors = self._vectors(call.model)
        if call.dimensions not in (None, vectors.dimension):
            what = f"{call.model} gives {vectors.dimension} dimensions and no other number"
            raise invalid("dimensions", what)
        sequences = vectors.tokenize(call.texts)
        found = vectors.embed_tokens(sequences, user)
        return embeddings_json(found, call.model, sum(map(len, sequences)), as_base64=call.base64)

    def rerank(self, call: RerankCall, user: str = "") -> dict[str, Any]:
        """The best `top_n` documents, best first; of equals the one that was sent first. Raises RequestError."""
        scored = self._scorer(call.model).score(call.query, call.documents, user)
        order = np.argsort(-scored.scores, kind="stable")[: call.top_n]
        results = [
            {"index": int(place), "relevance_score": float(scored.scores[place])}
            | ({"document": {"text": call.documents[place]}} if call.shown else {})
            for place in order
        ]
        return {
            "id": f"rerank-{uuid.uuid4().hex[:16]}", "object": "list", "model": call.model, "results": results,
            "usage": {"prompt_tokens": scored.tokens, "total_tokens": scored.tokens},
        }  # fmt: skip

    def _vectors(self, name: str) -> Vectors:
        deployment = self._deployment
        if deployment.embedder is not None and name == deployment.embedder_name:
            return deployment.embedder
        if name != deployment.engine.name:
            raise no_model(name, [one for one in (deployment.embedder_name, deployment.engine.name) if one])
        with self._lock:
            self._decoder = self._decoder or DecoderEmbedder(deployment.engine)
            return self._decoder

    def _scorer(self, name: str) -> Scorer:
        deployment = self._deployment
        if deployment.reranker is not None and name == deployment.reranker_name:
            return deployment.reranker
        if deployment.embedder is not None and name == deployment.embedder_name:
            return VectorScorer(deployment.embedder)
        raise no_model(name, [one for one in (deployment.reranker_name, deployment.embedder_name) if one])
