"""Telling copies: how much of a text's runs of three words stands in another.

Source: Broder (1997), On the resemblance and containment of documents.

    containment(a, b) = |runs(a) ∩ runs(b)| / |runs(a)|
"""

from __future__ import annotations

import re

__all__ = ["Runs", "are_alike", "containment", "runs_of"]

_WORD = re.compile(r"\w+")
_RUN = 3
_COPY = 0.5

Runs = set[tuple[str, ...]]


def runs_of(text: str) -> Runs:
    """All runs of three words, folded; none where there are fewer."""
    words = [word.lower() for word in _WORD.findall(text)]
    return {tuple(words[place : place + _RUN]) for place in range(len(words) - _RUN + 1)}


def containment(one: Runs, other: Runs) -> float:
    """The share of `one` that stands in `other`; 0 of nothing."""
    return len(one & other) / len(one) if one else 0.0


def are_alike(one: Runs, other: Runs) -> bool:
    """Whether half of the runs of the shorter text also stand in the other."""
    return containment(*sorted((one, other), key=len)) >= _COPY
