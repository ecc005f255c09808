"""Search without an answer: passages that the reader may see, with the rank and score of each in every arm.

POST /v1/search  {"query": "…", "k": 8, "arm": "hybrid", "weight": 0.4}

arm, weight   as fitted on the collection where they are left out
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from genwerk.core.errors import RequestError
from genwerk.core.types import Retrieved
from genwerk.retrieval.search import ARMS
from genwerk.serving.assistant import Passage
from genwerk.serving.deployment import Deployment
from genwerk.serving.fields import invalid, refuse_unserved, text
from genwerk.serving.openai_reply import passage_json

__all__ = ["SearchCall", "parse_search", "search"]

_MOST, _LONGEST = 100, 20_000


@dataclass(frozen=True, slots=True)
class SearchCall:
    """A search request, checked. An empty arm and a weight of None: as fitted."""

    query: str
    k: int
    arm: str
    weight: float | None


def parse_search(body: Mapping[str, Any]) -> SearchCall:
    """Check a search request. Raises RequestError."""
    refuse_unserved(body, frozenset(("query", "k", "arm", "weight", "user")))
    query, arm = text(body, "query", required=True), text(body, "arm")
    if not query.strip():
        raise invalid("query", "it is empty")
    if len(query) > _LONGEST:
        raise invalid("query", f"it has {len(query):,} characters", f"Send at most {_LONGEST:,}.")
    k = body.get("k", 8)
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= _MOST:
        raise invalid("k", f"it is {k!r}", f"It must be a whole number from 1 to {_MOST}.")
    if arm not in ("", *ARMS):
        raise invalid("arm", f"it is {arm!r}", f"Use one of {', '.join(ARMS)}.")
    weight = body.get("weight")
    if weight is not None and (not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight <= 1):
        raise invalid("weight", f"it is {weight!r}", "It must be a number from 0 (words) to 1 (meaning).")
    text(body, "user")
    return SearchCall(query, k, arm, weight)


def search(deployment: Deployment, call: SearchCall, groups: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `groups` may see, best first. Raises RequestError where there are no documents."""
    searcher = deployment.searcher
    if searcher is None:
        raise RequestError("this deployment has no documents", param="query", remedy="Serve a recipe with documents.")
    arm = call.arm or searcher.fusion.arm
    weight = searcher.fusion.weight if call.weight is None else float(call.weight)
    started = time.perf_counter()
    found = searcher.candidates(call.query, groups=groups)
    ranks = found.ranks(weight)
    took = time.perf_counter() - started
    data = [
        passage_json(Passage(Retrieved(chunk, at.score, arm), deployment.document(chunk.document_id, groups)))
        | {"object": "search.result", "arms": {one: asdict(held[chunk]) if chunk in held else None
                                               for one, held in ranks.items()}}
        for chunk, at in islice(ranks[arm].items(), call.k)
    ]  # fmt: skip
    return {
        "object": "list", "query": call.query, "arm": arm, "weight": weight,
        "fitted": {"arm": searcher.fusion.arm, "weight": searcher.fusion.weight},
        "searched": found.words.n_rows if found.words else 0, "milliseconds": round(1000 * took, 1), "data": data,
    }  # fmt: skip
