"""What is derived from the truth of an index so that searching is fast: postings of words, vectors as bytes, spellings.

    derived-N/   made.json (which index, up to which chunk), numbers.npy, arrays of postings.py, scan.py and spelling.py

Everything here can be deleted: what no folder covers is made in memory when the index is opened. A folder appears as a
whole, is never changed, and belongs to chunks up to number N; chunks that came later are added in memory, those that
went are passed over, until `derive` makes the next folder.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genwerk.core.atomic import explained, fsync_tree
from genwerk.core.progress import say, track
from genwerk.retrieval.postings import Postings, load_postings, make_postings, save_postings
from genwerk.retrieval.scan import ByteVectors
from genwerk.retrieval.spelling import Vocabulary
from genwerk.retrieval.store import connect, read_meta, stack
from genwerk.retrieval.terms import language_of, terms_of

__all__ = ["Derived", "covered_by", "derive", "find_derived", "make_derived"]

_MADE = "made.json"
_FORM = 2  # of the folder; another one is passed over
_BLOCK = 8192


@dataclass(frozen=True, eq=False, slots=True)
class Derived:
    """Postings and bytes of the chunks `numbers` (n,), row by row; the terms of all of them."""

    numbers: np.ndarray
    postings: Postings
    vectors: ByteVectors
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.numbers)


def make_derived(connection: sqlite3.Connection, dimension: int, after: int = 0) -> Derived:
    """Of all chunks with numbers above `after`. Raises sqlite3.Error or ValueError where the truth is damaged."""
    query = "SELECT number FROM chunks WHERE number > ? ORDER BY number"
    numbers = np.fromiter((row[0] for row in connection.execute(query, (after,))), dtype=np.int64)
    seen: set[str] = set()
    with track("reading the words", total=len(numbers), unit="chunks") as bar:

        def read() -> Iterator[list[str]]:
            for terms in _terms(connection, after):
                bar.advance()
                seen.update(terms)
                yield terms

        postings = make_postings(read())
    query = "SELECT vector FROM vectors WHERE chunk > ? ORDER BY chunk"
    cursor, parts = connection.execute(query, (after,)), []
    while block := cursor.fetchmany(_BLOCK):
        parts.append(ByteVectors.of(stack((row[0] for row in block), dimension)))
    nothing = ByteVectors.of(np.zeros((0, dimension), dtype=np.float32))
    joined = (
        np.concatenate([getattr(part, name) for part in (nothing, *parts)]) for name in ("bytes", "scales", "sums")
    )
    vectors = ByteVectors(*joined)
    if not len(numbers) == len(postings) == len(vectors):
        raise ValueError(f"{len(numbers)} chunks have {len(vectors)} vectors")
    return Derived(numbers, postings, vectors, Vocabulary.of(seen))


def _terms(connection: sqlite3.Connection, after: int) -> Iterator[list[str]]:
    query = (
        "SELECT d.text, d.metadata, c.start, c.stop, c.document "
        "FROM chunks c JOIN documents d ON d.number = c.document WHERE c.number > ? ORDER BY c.number"
    )
    language, last = "en", -1
    for text, metadata, start, stop, document in connection.execute(query, (after,)):
        if document != last:
            language, last = language_of(json.loads(metadata)), document
        yield terms_of(text[start:stop], language)


def derive(path: Path) -> Path:
    """Make the folder for the index file `path` as it is now, and remove older ones. Returns the folder."""
    connection = connect(path)
    try:
        meta = read_meta(connection, path)
        connection.execute("BEGIN")  # one state of the truth, whoever writes meanwhile
        made = make_derived(connection, int(meta["dimension"]))
        covered = int(made.numbers[-1]) if len(made) else 0
        about = {
            "identity": meta["identity"],
            "covered": covered,
            "form": _FORM,
            "digest": _digest(connection, covered),
        }
    finally:
        connection.close()
    folder = path.parent / f"derived-{covered}"
    part = path.parent / f".derived-{covered}.part"
    with explained(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        np.save(part / "numbers.npy", made.numbers, allow_pickle=False)
        save_postings(made.postings, part)
        made.vectors.save(part)
        made.vocabulary.save(part)
        (part / _MADE).write_text(json.dumps(about), encoding="utf-8")
        fsync_tree(part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    for other in path.parent.glob("derived-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def find_derived(connection: sqlite3.Connection, path: Path, meta: dict[str, str]) -> Derived | None:
    """What was made for this index and covers most of it; None where there is nothing, or nothing whole."""
    best: tuple[int, Path] | None = None
    for folder in path.parent.glob("derived-*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads((folder / _MADE).read_text(encoding="utf-8"))
            known = _digest(connection, about["covered"]) in (about["digest"], "")
            fits = about["identity"] == meta["identity"] and about.get("form") == _FORM and known
            if fits and (best is None or about["covered"] > best[0]):
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


def covered_by(path: Path) -> int:
    """Up to which chunk something is derived for the index file `path`, in the form of this version; 0: nothing."""
    found = [0]
    for folder in path.parent.glob("derived-*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads((folder / _MADE).read_text(encoding="utf-8"))
            found.append(int(about["covered"]) if about.get("form") == _FORM else 0)
    return max(found)


def _digest(connection: sqlite3.Connection, number: int) -> str:
    """By which a chunk is known; empty when it is no longer there."""
    row = connection.execute("SELECT digest FROM chunks WHERE number = ?", (number,)).fetchone()
    return row[0].hex() if row else ""
