"""Words that the collection does not hold are looked up by their nearest ones that it does.

Source: Damerau (1964), A technique for computer detection and correction of spelling errors; Ukkonen (1985) for the
band of the table.

    D(i, j) = min( D(i-1, j) + 1, D(i, j-1) + 1, D(i-1, j-1) + [a_i ≠ b_j], D(i-2, j-2) + 1 if a_i-1 a_i = b_j b_j-1 )

a, b   a term that was asked for and one of the vocabulary; at most 1 mistake in 3 to 5 letters, 2 in longer ones

    tmepfile → tempfile        the fewest mistakes in the stem, then in the word, then the same first letter, then the
                               word in the most passages

An edit changes at most two of the letters that occur: one look at a number of 32 bits for each term leaves few for the
table, and those are done all at once, letter by letter. Without a near term, one that begins with the word is taken.

Chosen:   no index of deletions, which takes many times the vocabulary; two mistakes are looked for behind the first
          letter only. Of the near terms only those count that the reader may see, so that no hidden document's word is
          ever guessed. Numbers are never changed.
Left out: mistakes that make another word of the collection; words run together; keyboards and sounds.
Try it:   python benchmarks/typos.py --quick
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Vocabulary", "allowed_mistakes", "mistakes", "nearest"]

_BEGINS = 4  # letters of a beginning that stands for a longer word
_BITS = 32
_FAR = np.uint8(200)
_ARRAYS = {"letters": np.uint8, "ends": np.int64, "masks": np.uint32, "sizes": np.uint8}


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Different terms in order of their UTF-8: their `letters` one behind another and where each `ends` (V,).

    masks   (V,) bit n: a character that is n modulo 32 occurs;  sizes (V,) characters
    """

    letters: np.ndarray
    ends: np.ndarray
    masks: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, terms: Iterable[str]) -> Vocabulary:
        """That of some terms, of at most 255 characters each."""
        spelled = sorted({term.encode("utf-8", "replace") for term in terms})
        held = [term.decode() for term in spelled]
        ends = np.cumsum([len(term) for term in spelled], dtype=np.int64)
        masks = np.fromiter(map(_mask, held), dtype=np.uint32, count=len(held))
        sizes = np.fromiter(map(len, held), dtype=np.uint8, count=len(held))
        return cls(np.frombuffer(b"".join(spelled), dtype=np.uint8), ends, masks, sizes)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: int) -> str:
        start = int(self.ends[place - 1]) if place else 0
        return self.letters[start : int(self.ends[place])].tobytes().decode()

    def save(self, folder: Path) -> None:
        """Write one file for each array."""
        for name in _ARRAYS:
            np.save(folder / f"vocabulary-{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Arrays that are read from disk as they are needed. Raises OSError or ValueError for damaged ones."""
        arrays = {name: np.load(folder / f"vocabulary-{name}.npy", mmap_mode="r", allow_pickle=False)
                  for name in _ARRAYS}  # fmt: skip
        found = cls(**arrays)
        kinds = all(arrays[name].dtype == kind and arrays[name].ndim == 1 for name, kind in _ARRAYS.items())
        last = int(found.ends[-1]) if kinds and len(found) else 0
        if not kinds or last != len(found.letters) or not len(found) == len(found.masks) == len(found.sizes):
            raise ValueError("the vocabulary's arrays do not belong together")
        return found

    def near(self, word: str, most: int) -> dict[str, int]:
        """Terms with at most `most` mistakes, and how many they have; two are looked for behind the first letter."""
        own = slice(0, len(self)) if most < 2 else self._beginning(word[0])
        sizes = self.sizes[own]
        fits = np.bitwise_count(self.masks[own] ^ np.uint32(_mask(word))) <= 2 * most
        fits &= (sizes >= max(len(word) - most, 1)) & (sizes <= min(len(word) + most, 255))
        terms = self._read(own.start + np.flatnonzero(fits))
        found = mistakes(word, terms, most)
        kept = found <= most
        return dict(zip(terms[kept].tolist(), found[kept].tolist(), strict=True))

    def longer(self, word: str) -> set[str]:
        """Terms that begin with `word`."""
        own = self._beginning(word)
        return {*map(self.__getitem__, range(own.start, own.stop))} - {word}

    def _beginning(self, word: str) -> slice:
        """Where the terms that begin with `word` stand."""
        spelled, first = _Spelled(self), word.encode()
        start = bisect_left(spelled, first)
        return slice(start, bisect_left(spelled, first + b"\xff", lo=start))

    def _read(self, places: np.ndarray) -> np.ndarray:
        """Terms (m,) at places (m,)."""
        starts = np.where(places > 0, self.ends[np.maximum(places, 1) - 1], 0)
        wide = (sizes := self.ends[places] - starts).max(initial=1)
        columns = np.arange(wide)
        spelled = self.letters[np.minimum(starts[:, None] + columns, max(len(self.letters) - 1, 0))]
        spelled = np.where(columns < sizes[:, None], spelled, np.uint8(0))
        return np.asarray(np.char.decode(spelled.view(f"S{wide}")[:, 0], "utf-8"))


class _Spelled(Sequence[bytes]):
    """Terms as they are ordered."""

    def __init__(self, held: Vocabulary) -> None:
        self._held = held

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, place: int) -> bytes:  # type: ignore[override]
        return self._held[place].encode()


def allowed_mistakes(term: str) -> int:
    """How many mistakes a term may have: none in a number, none in two letters, one in up to five, then two."""
    return 0 if len(term) < 3 or not term.isalpha() else 1 if len(term) < 6 else 2


def nearest(
    asked: str, form: str, vocabularies: Sequence[Vocabulary], count: Callable[[str], int]
) -> tuple[str, int] | None:
    """The term nearest to one `form` of the word that was asked for, and its mistakes; None where there is none.

    count   in how many passages that the reader may see a term stands. One that only begins like the form counts as one
            mistake more than are allowed.
    """
    most = allowed_mistakes(form)
    for allowed in range(1, most + 1):
        found: dict[str, int] = {}
        for held in vocabularies:
            found |= held.near(form, allowed)
        if seen := {term: holding for term in found if (holding := count(term))}:
            apart = dict(zip(seen, mistakes(asked, np.array([*seen]), len(asked)).tolist(), strict=True))
            best = min(seen, key=lambda term: (found[term], apart[term], term[0] != form[0], -seen[term], term))
            return best, found[best]
    if most and len(form) >= _BEGINS:
        longer = {term for held in vocabularies for term in held.longer(form)}
        if seen := {term: holding for term in longer if (holding := count(term))}:
            return min(seen, key=lambda term: (-seen[term], len(term), term)), most + 1
    return None


def mistakes(word: str, terms: np.ndarray, most: int) -> np.ndarray:
    """(m,) uint8: how many mistakes each of some terms (m,) has, up to `most`; what has more has any larger number."""
    wide, sizes = terms.dtype.itemsize // 4, np.char.str_len(terms)
    texts = np.ascontiguousarray(terms.view(np.uint32).reshape(len(terms), wide).T)  # (L, m), 0 behind the end
    asked = [ord(letter) for letter in word]
    table = np.full((len(asked) + 1, wide + 1, len(terms)), _FAR, dtype=np.uint8)
    table[0] = np.minimum(np.arange(wide + 1), int(_FAR))[:, None]
    table[:, 0] = np.minimum(np.arange(len(asked) + 1), int(_FAR))[:, None]
    same = {letter: texts == letter for letter in set(asked)}
    for i in range(1, len(asked) + 1):
        for j in range(max(1, i - most), min(wide, i + most) + 1):
            best = np.minimum(table[i - 1, j], table[i, j - 1]) + np.uint8(1)
            np.minimum(best, table[i - 1, j - 1] + ~same[asked[i - 1]][j - 1], out=best)
            if i > 1 and j > 1:
                turned = same[asked[i - 1]][j - 2] & same[asked[i - 2]][j - 1]
                np.minimum(best, np.where(turned, table[i - 2, j - 2] + np.uint8(1), _FAR), out=best)
            table[i, j] = best
    return np.asarray(table[len(asked), sizes, np.arange(len(terms))])


def _mask(word: str) -> int:
    found = 0
    for letter in word:
        found |= 1 << ord(letter) % _BITS
    return found
