"""The stages of a search as they were decided on one collection, put together in the one order there is.

    question ─ (what the model writes) ─ words and meaning, fused ─ (reranker) ─ passages

What serves and what is measured are put together here, so that they are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from genwerk.retrieval.answering import Generate
from genwerk.retrieval.embedding import TextEncoder
from genwerk.retrieval.fusion import load_fusion
from genwerk.retrieval.index import Index
from genwerk.retrieval.reranked import RerankedSearch, load_reranking
from genwerk.retrieval.reranking import Scorer
from genwerk.retrieval.rewriting import RewrittenSearch, load_rewriting
from genwerk.retrieval.search import NO_REWRITE, Search, Searcher

__all__ = ["decided_search"]


def decided_search(
    index: Index, embedder: TextEncoder, generate: Generate, reranker: Scorer | None, decided: Mapping[str, Path]
) -> Search:
    """A search with the stages that were decided for.

    generate   is asked only for a search that is rewritten, which one search may be whatever was decided for all.
    decided    folders of what was decided, by part: fit, rewriting, reranking; where one is missing, nothing was.
    """
    fit, rewriting, reranking = (decided.get(part) for part in ("fit", "rewriting", "reranking"))
    searcher = Searcher(index, embedder, load_fusion(fit).choice if fit else None)
    rewritten = RewrittenSearch(searcher, generate, load_rewriting(rewriting) if rewriting else NO_REWRITE)
    if reranker is None or reranking is None:
        return rewritten
    return RerankedSearch(rewritten, reranker, load_reranking(reranking).choice)
