"""Filters: which documents a search is about, by what is known of them.

    {"source": "manuals/", "language": ["de", "en"], "date": {"from": "2024-03", "to": "2024"}}     in the API, or
    ["source=manuals/", "language=de", "language=en", "date=2024-03..2024"]                         the same in pairs
    --where source=manuals/ --where language=de --where language=en --where date=2024-03..2024      on the command line

Every key must hold; of several values of a key one must. A value that ends in / or names a folder is the beginning of
a source; one with * or ? is a pattern for the whole of it, in which * also stands for /. A span of ISO dates includes
both ends, as far as they are given: "2024" as an end is the end of that year.

Chosen:   a format is the ending of the file's name. Documents are told apart, not chunks; they are taken out of both
          searches before anything is counted, by the same road as those that a reader may not see (view.py). A key that
          no document has is refused, beside the names of those that the reader's documents have.
Left out: `or` between keys, `not`, comparing numbers.
Try it:   genwerk index search "…" --where format=pdf
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from genwerk.core.errors import RequestError
from genwerk.retrieval.terms import language_of

__all__ = ["EVERYTHING", "Condition", "Facets", "Where", "parse_pairs", "parse_where"]

_ALWAYS = ("format", "language", "source")
_NOT_ASKED = frozenset(["places", "first_line", "encoding", "suffix", "file_sha256"])  # of files, not of what they say
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d([T ][\d:.]+(Z|[+-]\d\d:?\d\d)?)?)?)?")
_MOST = 64  # keys, and values of a key


@dataclass(frozen=True, slots=True, order=True)
class Condition:
    """`key` has one of `values`; without values it is a date from `since` to `until`, where they are not empty."""

    key: str
    values: tuple[str, ...] = ()
    since: str = ""
    until: str = ""

    def holds(self, value: str) -> bool:
        """Whether a document with this value is meant; an empty value: the document does not have the key."""
        if not value:
            return False
        if not self.values:
            whole = _DATE.fullmatch(value) is not None
            return whole and self.since <= value and (not self.until or value[: len(self.until)] <= self.until)
        if self.key == "source":
            return any(_is_source(value, wanted) for wanted in self.values)
        return value.casefold() in {wanted.casefold() for wanted in self.values}


@dataclass(frozen=True, slots=True)
class Where:
    """Conditions that all hold, in the order of their keys."""

    conditions: tuple[Condition, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.conditions)


EVERYTHING = Where()


def parse_where(value: Any) -> Where:
    """A filter from JSON: keys with values, or a list of pairs. Raises RequestError that says how it is written."""
    if value is None:
        return EVERYTHING
    if isinstance(value, list) and all(isinstance(pair, str) for pair in value):
        return parse_pairs(value)
    if not isinstance(value, Mapping) or len(value) > _MOST:
        raise _refused("", f"it is {_shown(value)}", 'Write it as {"language": "de", "source": "manuals/"}.')
    return Where(tuple(sorted(_condition(str(key), wanted) for key, wanted in value.items())))


def parse_pairs(pairs: Iterable[str]) -> Where:
    """A filter from `key=value` and `key=from..to`; a key that is given again may have the other value too.

    Raises RequestError.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise _refused("", f"it is {pair!r}", "Write it as key=value, or as key=from..to for dates.")
        since, dots, until = value.strip().partition("..")
        if dots and all(_DATE.fullmatch(end) for end in (since, until) if end):
            if key.strip() in found:
                raise _refused(key, "it is given a second time", "Give one span of dates.")
            found[key.strip()] = {"from": since, "to": until}
        elif isinstance(held := found.setdefault(key.strip(), []), list):
            held.append(value.strip())
        else:
            raise _refused(key, "it is given a second time", "Give one span of dates.")
    return parse_where(found)


def _condition(key: str, wanted: Any) -> Condition:
    if isinstance(wanted, Mapping):
        ends = {name: wanted.get(name) or "" for name in ("from", "to")}
        if not wanted or set(wanted) - set(ends) or not any(ends.values()):
            raise _refused(key, f"it is {_shown(wanted)}", 'Write a span as {"from": "2024-01", "to": "2024-06"}.')
        for end in ends.values():
            if not isinstance(end, str) or (end and not _DATE.fullmatch(end)):
                raise _refused(key, f"{_shown(end)} is no date", "Write it as 2024, 2024-03 or 2024-03-31.")
        return Condition(key, (), ends["from"], ends["to"])
    values = wanted if isinstance(wanted, list | tuple) else [wanted]
    if not values or len(values) > _MOST or not all(isinstance(one, str) and one for one in values):
        raise _refused(key, f"it is {_shown(wanted)}", f"Give a text, or a list of at most {_MOST} texts.")
    return Condition(key, tuple(sorted(set(values))))


def _is_source(source: str, wanted: str) -> bool:
    if any(sign in wanted for sign in "*?["):
        return re.fullmatch(translate(wanted), source) is not None
    return source == wanted or source.startswith(wanted.rstrip("/") + "/")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _refused(key: str, what: str, remedy: str) -> RequestError:
    return RequestError(f"`where{'.' if key else ''}{key}`: {what}", param="where", code="invalid_value", remedy=remedy)


@dataclass(slots=True)
class _Column:
    """Of each document the place of its value in `values`; place 0: it has none. Both lists only grow."""

    places: list[int] = field(default_factory=list)
    values: list[str] = field(default_factory=lambda: [""])
    numbers: dict[str, int] = field(default_factory=lambda: {"": 0})

    def add(self, document: int, value: str) -> None:
        if value not in self.numbers:
            self.values.append(value)
            self.numbers[value] = len(self.values) - 1
        self.places.extend([0] * (document - len(self.places)))
        self.places.append(self.numbers[value])

    def of(self, n_documents: int) -> np.ndarray:
        """(n,) places of the first documents."""
        held = self.places[:n_documents]
        return np.array(held + [0] * (n_documents - len(held)), dtype=np.int64)


class Facets:
    """What is known of documents, key by key. A key of few different values is asked of those, not of documents."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {key: _Column() for key in _ALWAYS}

    def add(self, document: int, source: str, metadata: Mapping[str, str]) -> None:
        """The document with the next number."""
        suffix = metadata.get("suffix") or PurePosixPath(source).suffix
        own = {"source": source, "format": suffix.lstrip(".").lower(), "language": language_of(metadata)}
        known = {**metadata, **own}
        for key, value in known.items():
            if value and key not in _NOT_ASKED:
                self._columns.setdefault(key, _Column()).add(document, value)

    def matching(self, where: Where, seen: np.ndarray) -> np.ndarray:
        """Which of the documents `seen` (n,) bool are meant: (n,) bool.

        Raises RequestError for a key that none of those seen has.
        """
        found = seen.copy()
        for condition in where.conditions:
            column = self._columns.get(condition.key)
            places = np.zeros(len(seen), dtype=np.int64) if column is None else column.of(len(seen))
            if column is None or (condition.key not in _ALWAYS and not places[seen].any()):
                raise self._unknown(condition.key, seen)
            holds = np.fromiter(map(condition.holds, column.values), dtype=bool)
            found &= holds[places]
        return found

    def values(self, key: str, seen: np.ndarray) -> tuple[str, ...]:
        """The different values of a key among the documents `seen` (n,), in order."""
        column = self._columns[key]
        there = np.bincount(column.of(len(seen))[seen], minlength=1)
        return tuple(sorted(column.values[place] for place in np.flatnonzero(there) if place))

    def _unknown(self, key: str, seen: np.ndarray) -> RequestError:
        known = [name for name, column in list(self._columns.items())
                 if name in _ALWAYS or column.of(len(seen))[seen].any()]  # fmt: skip
        near: Sequence[str] = difflib.get_close_matches(key, known, n=1)
        hint = f"Did you mean `{near[0]}`? " if near else ""
        remedy = f"{hint}Known: {', '.join(sorted(known))}."
        return RequestError(f"no document has a `{key}`", param="where", code="unknown_key", remedy=remedy)
