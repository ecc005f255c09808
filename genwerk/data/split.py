"""Train or held out: a split by document that no copied paragraph crosses.

Documents that share at least 30 % of the shorter one's text in whole paragraphs form a group. The hash of a group's
smallest document id gives it a place in a fixed order, from whose beginning groups are held out until they hold the
wanted share of the characters. With two groups or more neither side is empty.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence

from genwerk.core.types import Document

TRAIN, HELDOUT = "train", "heldout"

_PARAGRAPH = re.compile(r"\n\s*\n")
_SHORTEST_PARAGRAPH = 120
_SHARED = 0.3
_BOILERPLATE = 20  # a paragraph in more documents than this is a notice, not a copy


def assign_splits(documents: Sequence[Document], holdout: float) -> dict[str, str]:
    """Document id → `train` or `heldout`; about the share `holdout` of the characters is held out."""
    sizes = {document.id: len(document.text) for document in documents}
    groups = sorted(_groups(documents), key=lambda group: _place(min(group)))
    weights = [sum(sizes[member] for member in group) for group in groups]
    wanted = holdout * sum(weights)
    held: set[str] = set()
    size = 0
    for group, weight in zip(groups, weights, strict=True):
        if size < wanted and size + weight <= 1.5 * wanted:
            held.update(group)
            size += weight
    if not held and len(groups) > 1:
        held.update(groups[weights.index(min(weights))])
    return {document.id: HELDOUT if document.id in held else TRAIN for document in documents}


def _place(identity: str) -> float:
    return int(hashlib.sha256(f"split {identity}".encode()).hexdigest()[:12], 16) / 16**12


def _groups(documents: Sequence[Document]) -> list[list[str]]:
    """Ids of documents that share much of their text, transitively."""
    where: dict[bytes, list[int]] = defaultdict(list)
    lengths: list[int] = []
    length_of: dict[bytes, int] = {}
    for index, document in enumerate(documents):
        keys = {}
        for paragraph in _PARAGRAPH.split(document.text):
            text = " ".join(paragraph.split())
            if len(text) >= _SHORTEST_PARAGRAPH:
                keys[hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()] = len(text)
        for key, length in keys.items():
            where[key].append(index)
            length_of[key] = length
        lengths.append(sum(keys.values()))
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for key, members in where.items():
        if 1 < len(members) <= _BOILERPLATE:
            for position, one in enumerate(members):
                for other in members[position + 1 :]:
                    shared[one, other] += length_of[key]
    root = list(range(len(documents)))
    for (one, other), length in shared.items():
        if length >= _SHARED * min(lengths[one], lengths[other]):
            root[_find(root, one)] = _find(root, other)
    groups: dict[int, list[str]] = defaultdict(list)
    for index, document in enumerate(documents):
        groups[_find(root, index)].append(document.id)
    return sorted(groups.values(), key=min)


def _find(root: list[int], index: int) -> int:
    while root[index] != index:
        root[index] = root[root[index]]
        index = root[index]
    return index
