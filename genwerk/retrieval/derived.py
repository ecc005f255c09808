"""What is derived from the truth of an index so that searching is fast: postings of words, vectors as bytes, spellings.

    derived-N/   made.json (which index, up to which chunk), numbers.npy, arrays of postings.py, scan.py and spelling.py

Everything here can be deleted: what no folder covers is made in memory when the index is opened. A folder appears as a
whole, is never changed, and belongs to chunks up to number N; chunks that came later are added in memory, those that
went are passed over, until `derive` makes the next folder. Of an index in a file its writer makes them, of one in
PostgreSQL each machine that reads it for itself, in its cache. Whoever has the index open goes over to the next folder.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genwerk.core.atomic import explained, fsync_tree
from genwerk.core.errors import WorkspaceError
from genwerk.core.lock import hold
from genwerk.core.progress import say, track
from genwerk.retrieval.postings import Postings, load_postings, make_postings, save_postings
from genwerk.retrieval.scan import ByteVectors
from genwerk.retrieval.spelling import Vocabulary
from genwerk.retrieval.terms import language_of, terms_of
from genwerk.retrieval.truth import State, Store

__all__ = ["Derived", "derive", "derive_if_stale", "find_derived", "is_stale", "make_derived"]

_MADE = "made.json"
_FORM = 2  # of the folder; another one is passed over
_STALE = 0.1  # share of chunks that came later, from which on what is derived is made anew
_STALE_AT_LEAST = 4096


@dataclass(frozen=True, eq=False, slots=True)
class Derived:
    """Postings and bytes of the chunks `numbers` (n,), row by row; the terms of all of them."""

    numbers: np.ndarray
    postings: Postings
    vectors: ByteVectors
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.numbers)


def make_derived(state: State, spans: np.ndarray, dimension: int) -> Derived:
    """Of the chunks `spans` (n, 4), all above a number. Raises ValueError, or an error of its database, for damage."""
    after = int(spans[0, 0]) - 1 if len(spans) else state.last().chunk
    seen: set[str] = set()
    with track("reading the words", total=len(spans), unit="chunks") as bar:

        def read() -> Iterator[list[str]]:
            for terms in _terms(state, spans):
                bar.advance()
                seen.update(terms)
                yield terms

        postings = make_postings(read())
    parts = [ByteVectors.of(block) for block in state.vectors(after, dimension)]
    nothing = ByteVectors.of(np.zeros((0, dimension), dtype=np.float32))
    joined = (
        np.concatenate([getattr(part, name) for part in (nothing, *parts)]) for name in ("bytes", "scales", "sums")
    )
    vectors = ByteVectors(*joined)
    if not len(spans) == len(postings) == len(vectors):
        raise ValueError(f"{len(spans)} chunks have {len(postings)} texts and {len(vectors)} vectors")
    return Derived(spans[:, 0].copy(), postings, vectors, Vocabulary.of(seen))


def _terms(state: State, spans: np.ndarray) -> Iterator[list[str]]:
    """Of each span, in order: a text is read once, however many chunks it has."""
    documents = spans[:, 1]
    if np.any(np.diff(documents) < 0):
        raise ValueError("chunks are not in the order of their documents")
    for number, text, metadata in state.texts(int(documents[0]) - 1 if len(spans) else state.last().document):
        language = language_of(json.loads(metadata))
        first, last = np.searchsorted(documents, [number, number + 1])
        for start, stop in spans[first:last, 2:].tolist():
            yield terms_of(text[start:stop], language)


def derive(store: Store) -> Path:
    """Make the folder for an index as it is now, and remove older ones. Returns the folder."""
    with closing(store.connect()) as sql, store.state(sql) as state:
        meta = state.meta(store.where)
        spans = state.spans(0)
        made = make_derived(state, spans, int(meta["dimension"]))
        covered = int(spans[-1, 0]) if len(spans) else 0
        digest = state.digest(covered)
    about = {"identity": meta["identity"], "covered": covered, "form": _FORM, "digest": digest}
    folder = store.folder / f"derived-{covered}"
    part = store.folder / f".derived-{covered}.part"
    with explained(folder):
        shutil.rmtree(part, ignore_errors=True)
        store.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # words of documents that not everyone may see
        part.mkdir()
        np.save(part / "numbers.npy", made.numbers, allow_pickle=False)
        save_postings(made.postings, part)
        made.vectors.save(part)
        made.vocabulary.save(part)
        (part / _MADE).write_text(json.dumps(about), encoding="utf-8")
        fsync_tree(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    for other in store.folder.glob("derived-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def derive_if_stale(store: Store, identity: str, last: int) -> None:
    """`derive` when a tenth of the chunks up to number `last`, and not few, came after what is derived."""
    if not _is_stale(store, identity, last):
        return
    if not store.shared:
        derive(store)  # by the one who changes the index
        return
    with hold(store.folder.with_suffix(".lock"), wait=math.inf, busy=lambda holder: WorkspaceError(str(holder))):
        if _is_stale(store, identity, last):  # not if it was another process of this machine that was waited for
            derive(store)


def is_stale(covered: int, last: int) -> bool:
    """Whether a tenth of the chunks up to number `last`, and not few, came after number `covered`."""
    return last - covered >= max(_STALE_AT_LEAST, _STALE * covered)


def _is_stale(store: Store, identity: str, last: int) -> bool:
    return is_stale(max((about["covered"] for about, _ in _made(store.folder, identity)), default=0), last)


def _made(root: Path, identity: str) -> Iterator[tuple[dict[str, Any], Path]]:
    """What was derived for this index, as each folder tells of itself."""
    for folder in root.glob("derived-*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads((folder / _MADE).read_text(encoding="utf-8"))
            mine = about["identity"] == identity and about.get("form") == _FORM
            if mine and isinstance(about["covered"], int):
                yield about, folder


def find_derived(state: State, root: Path, meta: dict[str, str]) -> Derived | None:
    """What was made for this index and covers most of it; None where there is nothing, or nothing whole."""
    best: tuple[int, Path] | None = None
    for about, folder in _made(root, meta["identity"]):
        known = state.digest(about["covered"]) in (about.get("digest"), "")
        if known and (best is None or about["covered"] > best[0]):
            best = about["covered"], folder
    if best is None:
        return None
    folder = best[1]
    try:
        numbers = np.load(folder / "numbers.npy", allow_pickle=False)
        vectors = ByteVectors.load(folder, int(meta["dimension"]))
        found = Derived(numbers, load_postings(folder), vectors, Vocabulary.load(folder))
        if not len(numbers) == len(found.postings) == len(found.vectors):
            raise ValueError("the arrays do not belong together")
    except (OSError, ValueError) as error:
        say(f"{folder.name} is damaged ({error}): it is made anew in memory", style="yellow")
        return None
    return found
