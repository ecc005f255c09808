"""Exact deduplication: of texts that differ in white space at most, the first stays.

Chosen:   sha256 of the text with each run of white space as one space, so that rewrapped copies are copies.
Left out: near duplicates (MinHash); `split` at least keeps texts that share paragraphs on one side.
"""

from __future__ import annotations

import hashlib


class Deduplicator:
    """Remembers the first source of every text it has seen."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}

    def duplicate_of(self, text: str, source: str) -> str:
        """The source that had this text before; empty, and remembered as `source`, when it is new."""
        key = hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).digest()
        if key in self._first:
            return self._first[key]
        self._first[key] = source
        return ""
