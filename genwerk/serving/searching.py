"""Search without an answer: passages that the reader may see, with the rank and score of each in every arm.

POST /v1/search  {"query": "…", "k": 8, "arm": "hybrid", "weight": 0.4, "fusion": "weighted",
                  "where": {"format": "pdf"}, "mmr": 0.7, "distinct": true, "spelling": true, "rerank": true,
                  "rewrite": "none"}

arm, weight   as fitted on the collection where they are left out;  rerank  as was decided
where         see retrieval/where.py;  mmr, distinct  see diversity.py
rewrite       multi-query, decomposition or hyde: the model writes what is searched for too, one more call of it
spelling      words that no document has are looked up by their nearest ones: true where it is left out
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from genwerk.core.errors import RequestError
from genwerk.core.types import ARMS
from genwerk.retrieval.search import FUSIONS, REWRITES, Found, Options, check_query
from genwerk.retrieval.where import parse_where
from genwerk.serving.assistant import Passage
from genwerk.serving.deployment import Deployment
from genwerk.serving.fields import flag, invalid, refuse_unserved, text
from genwerk.serving.openai_reply import passage_json

__all__ = ["SearchCall", "parse_search", "search"]

_MOST = 100
_FIELDS = frozenset(["query", "k", "arm", "weight", "fusion", "where", "mmr", "distinct", "spelling", "rerank",
                     "rewrite", "user"])  # fmt: skip


@dataclass(frozen=True, slots=True)
class SearchCall:
    """A search request, checked. An empty arm: as fitted."""

    query: str
    k: int
    arm: str
    options: Options


def parse_search(body: Mapping[str, Any]) -> SearchCall:
    """Check a search request. Raises RequestError."""
    refuse_unserved(body, _FIELDS)
    query, arm, fusion = text(body, "query", required=True), text(body, "arm"), text(body, "fusion") or FUSIONS[0]
    check_query(query)
    k = body.get("k", 8)
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= _MOST:
        raise invalid("k", f"it is {k!r}", f"It must be a whole number from 1 to {_MOST}.")
    asked = (
        ("arm", arm, ("", *ARMS)),
        ("fusion", fusion, FUSIONS),
        ("rewrite", text(body, "rewrite"), ("", *REWRITES)),
    )
    for name, value, known in asked:
        if value not in known:
            raise invalid(name, f"it is {value!r}", f"Use one of {', '.join(filter(None, known))}.")
    text(body, "user")
    options = Options(
        parse_where(body.get("where")), fusion, _share(body, "weight", "words", "meaning"),
        _share(body, "mmr", "unlike each other", "the order of the scores"), flag(body, "distinct", False),
        flag(body, "spelling", True), None if body.get("rerank") is None else flag(body, "rerank", False),
        text(body, "rewrite") or None,
    )  # fmt: skip
    return SearchCall(query, k, arm, options)


def _share(body: Mapping[str, Any], name: str, none: str, whole: str) -> float | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1):
        raise invalid(name, f"it is {value!r}", f"It must be a number from 0 ({none}) to 1 ({whole}).")
    return None if value is None else float(value)


def search(deployment: Deployment, call: SearchCall, groups: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `groups` may see, best first. Raises RequestError where there are no documents."""
    searcher, options = deployment.searcher, call.options
    if searcher is None:
        raise RequestError("this deployment has no documents", param="query", remedy="Serve a recipe with documents.")
    arm = call.arm or searcher.fusion.arm
    weight = searcher.fusion.weight if options.weight is None else options.weight

    def ask() -> tuple[Found, float, list[Passage]]:
        started = time.perf_counter()
        found = searcher.find(call.query, call.k, arm, groups=groups, options=options)
        took = time.perf_counter() - started
        shown = searcher.index.shown
        return found, took, [Passage(one, shown(one.chunk.document_id, groups)) for one in found.results]

    found, took, passages = searcher.index.following(ask)
    ranks, words = found.candidates.ranks(weight, options.fusion), found.candidates.words
    data = [
        passage_json(passage)
        | {"object": "search.result", "arms": {one: asdict(rank) if (rank := held.get(passage.result.chunk)) else None
                                               for one, held in ranks.items()}}
        for passage in passages
    ]  # fmt: skip
    used, fitted = searcher.as_decided(options), searcher.as_decided()
    return {
        "object": "list", "query": call.query, "arm": arm, "weight": weight, "fusion": options.fusion,
        "reranked": bool(used.rerank), "rewritten": used.rewrite,
        "corrections": [asdict(one) for one in found.candidates.corrections],
        "repeated": found.repeated, "searched": words.n_rows if words else 0, "milliseconds": round(1000 * took, 1),
        "fitted": {"arm": searcher.fusion.arm, "weight": searcher.fusion.weight,
                   "rerank": fitted.rerank, "rewrite": fitted.rewrite},
        "data": data,
    }  # fmt: skip
