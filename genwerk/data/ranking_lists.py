"""Ranking lists on disk: a query, the passage that answers it, and passages that look as if they did.

    passages.jsonl   one text a line; its line, from 0, is its number
    lists.jsonl      {"query", "document_id", "split", "positive": 3, "negatives": [9, 1], "scores": [...] or null}
    documents.json   [{"id", "sha256"}]: the documents that the positives are of

`scores` are a teacher's, in log-odds, of the positive and then of the negatives.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from genwerk.core.atomic import write_json
from genwerk.core.errors import DataError
from genwerk.core.jsonl import read_jsonl, write_jsonl

__all__ = ["RankingList", "RankingLists", "join_lists", "load_lists", "write_lists"]

_LISTS, _PASSAGES, _DOCUMENTS = "lists.jsonl", "passages.jsonl", "documents.json"


@dataclass(frozen=True, slots=True)
class RankingList:
    """`positive` and `negatives` are numbers of passages; `split` is train or dev, `document_id` the positive's."""

    query: str
    positive: int
    negatives: tuple[int, ...]
    split: str
    document_id: str
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class RankingLists:
    """Lists, the passages that they point to, and the documents (id, sha256) that the positives are of."""

    passages: tuple[str, ...]
    lists: tuple[RankingList, ...]
    documents: tuple[Mapping[str, str], ...] = ()

    def named(self, identities: Collection[str]) -> list[Mapping[str, str]]:
        """The documents with these ids, each once."""
        return list({record["id"]: record for record in self.documents if record["id"] in identities}.values())

    def of(self, split: str) -> list[RankingList]:
        """The lists of one split, in their order."""
        return [one for one in self.lists if one.split == split]


def write_lists(path: Path, found: RankingLists) -> None:
    """Write the files into the folder `path`."""
    write_json(path / _DOCUMENTS, list(found.documents))
    write_jsonl(path / _PASSAGES, found.passages)
    write_jsonl(path / _LISTS, map(asdict, found.lists))


def load_lists(path: Path) -> RankingLists:
    """The lists in the folder `path`. Raises DataError when they are missing or damaged."""
    try:
        passages = read_jsonl(path / _PASSAGES)
        documents = tuple(json.loads((path / _DOCUMENTS).read_text(encoding="utf-8")))
        lists = tuple(_parse(row, len(passages)) for row in read_jsonl(path / _LISTS))
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"the ranking lists cannot be read: {error!r}"
        raise DataError(what, where=str(path), remedy="Mine them anew.") from error
    return RankingLists(tuple(passages), lists, documents)


def join_lists(parts: Sequence[RankingLists]) -> RankingLists:
    """Several as one; the numbers of passages move on."""
    passages: list[str] = []
    lists: list[RankingList] = []
    for part in parts:
        start = len(passages)
        passages += part.passages
        for one in part.lists:
            moved = tuple(start + number for number in one.negatives)
            lists.append(RankingList(one.query, start + one.positive, moved, one.split, one.document_id, one.scores))
    documents = tuple(record for part in parts for record in part.documents)
    return RankingLists(tuple(passages), tuple(lists), documents)


def _parse(row: dict[str, object], count: int) -> RankingList:
    found = RankingList(**row)  # type: ignore[arg-type]
    scores = None if found.scores is None else tuple(found.scores)
    numbers = (found.positive, *found.negatives)
    if not all(0 <= number < count for number in numbers):
        raise ValueError(f"a list points to a passage that is not among {count}")
    if scores is not None and len(scores) != len(numbers):
        raise ValueError(f"{len(scores)} scores for {len(numbers)} passages")
    return RankingList(found.query, found.positive, tuple(found.negatives), found.split, found.document_id, scores)
