"""Step 1 for sequences of tokens: molecules, music, lines of text become rows of numbers, split like pictures are.

    train.npy, heldout.npy               (N, T) tokens by number, the end token last, padding behind it
    train-labels.npy, heldout-labels.npy (N,) class by number, -1 for none
    train.sources, heldout.sources       where each row is from, a line a row
    train-places.npy, heldout-places.npy (N, 2) number of the sequence it was cut from, and the token it begins at there
    vocabulary.json                      token by number; the first three are padding, begin and end
    meta.json, ledger.jsonl, card.json   shape and classes; what was left out, with the rule; counts

Chosen:   a sequence that was seen already is left out, so that none is on both sides; the split of a source that has
          one is kept, otherwise a share is held out by the hash of the tokens. Long pieces are cut into windows on
          the same side, of which only the last one ends, unless it is full.
Try it:   genwerk run recipes/molecules.yaml
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationInfo, field_validator

from genwerk.core.artifact import Source
from genwerk.core.atomic import write_json, write_text
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.progress import say, track
from genwerk.core.workspace import Step
from genwerk.data.ledger import CHANGED, DROPPED, Ledger
from genwerk.data.sequence_sources import READERS, SEPARATORS, TOGETHER, VARIANTS, FoundSequence

__all__ = ["BEGIN", "END", "PAD", "SPECIAL", "SequenceSet", "SequencesConfig", "line_of", "load_sequences",
           "prepare_sequences", "words_of"]  # fmt: skip

SPECIAL = ("<pad>", "<begin>", "<end>")
"""The first tokens of every vocabulary."""
PAD, BEGIN, END = range(3)

Side = Literal["train", "heldout"]
_SHOWN = 1000
SIDES: tuple[Side, Side] = ("train", "heldout")


class SequencesConfig(Config):
    """Which sequences, and how long they may be."""

    layout: str = Field("lines", description=f"how sources are read: {', '.join(READERS)}")
    longest: int = Field(256, ge=2, description="tokens of a sequence, its end included; longer ones are left out")
    window: int = Field(0, ge=0, description="above 0: longer ones are cut into windows of so many tokens instead")
    stride: int = Field(0, ge=0, description="tokens between the beginnings of two windows; 0: as many as a window has")
    classes: tuple[str, ...] = Field((), description="only these; none: all")
    variants: bool = Field(True, description="what is learned from also in every other key, where it is music")
    holdout: float = Field(0.1, gt=0, lt=1, description="share kept from training, where a source has no split")
    most: int = Field(0, ge=0, description="sequences to learn from at most, the first ones; 0: all")
    license: str = Field("unspecified", description="licence of the sequences, printed on the card")

    @field_validator("window", "stride")
    @classmethod
    def _whole(cls, value: int, found: ValidationInfo) -> int:
        layout = found.data.get("layout", "")
        if value % (together := TOGETHER.get(layout, 1)):
            raise ValueError(f"of {layout} it must be a multiple of {together}")
        return value

    @field_validator("stride")
    @classmethod
    def _within(cls, value: int, found: ValidationInfo) -> int:
        if value > (window := found.data.get("window", value)):
            raise ValueError(f"it cannot be more than `window`, {window}: tokens between two windows would be lost")
        return value


@dataclass(frozen=True)
class SequenceSet:
    """One side of the split: tokens (N, T), classes (N,), -1: none; tokens and classes by number.

    places   (N, 2): number of the sequence each row was cut from, and the token it begins at there
    """

    tokens: NDArray[np.integer]
    labels: NDArray[np.int64]
    vocabulary: tuple[str, ...]
    classes: tuple[str, ...]
    layout: str
    places: NDArray[np.integer]

    def __len__(self) -> int:
        return len(self.tokens)

    def words(self, row: int) -> tuple[str, ...]:
        """Tokens of a row, without those of the format."""
        return words_of(self.tokens[row], self.vocabulary)

    def pieces(self) -> list[tuple[str, ...]]:
        """Every sequence that rows were cut from, whole again, and as it was found: not in other keys."""
        joined: dict[int, list[str]] = {}
        for row, (source, start) in enumerate(self.places.tolist()):
            piece = joined.setdefault(source, [])
            piece += self.words(row)[len(piece) - start :]  # nothing of what is there already, in whichever key
        return [tuple(piece) for piece in joined.values()]

    def __contains__(self, words: Sequence[str]) -> bool:
        """Whether a row is these tokens and the end; or these alone, where they fill it."""
        length = self.tokens.shape[1]
        if len(words) > length or not all(word in self._numbers for word in words):
            return False
        row = np.full(length + 1, PAD, self.tokens.dtype)
        row[: len(words) + 1] = [*(self._numbers[word] for word in words), END]
        return row[:length].tobytes() in self._rows

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary)}

    @cached_property
    def _rows(self) -> frozenset[bytes]:
        return frozenset(np.asarray(row).tobytes() for row in self.tokens)


def words_of(tokens: Sequence[int] | NDArray[np.integer], vocabulary: Sequence[str]) -> tuple[str, ...]:
    """Token strings up to the end."""
    found = []
    for token in tokens:
        if int(token) in (PAD, END):
            break
        found.append(vocabulary[int(token)])
    return tuple(found)


def line_of(words: Sequence[str], layout: str) -> str:
    """A sequence as a line of text."""
    return SEPARATORS.get(layout, "").join(words)


def prepare_sequences(config: SequencesConfig, step: Step, *sources: Source) -> Mapping[str, float | int | str]:
    """Write the sequences of `sources`. Raises DataError: an unknown layout, fewer than two, or nothing held out."""
    if config.layout not in READERS:
        raise DataError(f"there is no layout `{config.layout}`", remedy=f"Known: {', '.join(READERS)}.")
    ledger = Ledger()
    gathered = _Gathered()
    found = READERS[config.layout](tuple(source.path for source in sources), ledger)
    with track("reading", total=None, unit="sequences") as bar:
        for number, one in enumerate(found, 1):
            gathered.take(one, config, ledger)
            if number % _SHOWN == 0:
                bar.advance(_SHOWN)
    if gathered.beyond:  # one entry, since there may be millions
        ledger.drop("all sources", "beyond `most`", f"{gathered.beyond} sequences: {config.most} are enough")
    dropped, changed = ledger.counts(DROPPED), ledger.counts(CHANGED)
    dropped |= {"beyond `most`": gathered.beyond} if gathered.beyond else {}
    if dropped:
        say(f"left out: {', '.join(f'{count} {rule}' for rule, count in dropped.items())}")
    counts: dict[str, float | int | str] = {side: len(gathered.sides[side].rows) for side in SIDES}
    if not all(counts.values()):
        what = f"{counts['train']} sequences can be learned from, {counts['heldout']} are held out"
        remedy = "One of each is the least, hundreds make sense; is `longest` too short? The ledger says why."
        raise DataError(what, where=", ".join(source.name for source in sources), remedy=remedy)
    meta = gathered.write(step.out, config)
    ledger.write(step.out / "ledger.jsonl")
    inputs = {one.name: one.sha256 for one in sources}
    write_json(step.out / "card.json", {**counts, **meta, "dropped": dropped, "changed": changed, "inputs": inputs,
                                        "config": config.model_dump(mode="json")})  # fmt: skip
    return {**counts, "vocabulary": len(gathered.numbers), "longest": int(str(meta["longest"])),
            "dropped": sum(dropped.values()), "changed": sum(changed.values())}  # fmt: skip


@dataclass
class _SideRows:
    rows: list[bytes] = field(default_factory=list)  # uint16
    sources: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    places: array[int] = field(default_factory=lambda: array("i"))  # two numbers a row


class _Gathered:
    """Sequences as numbers, in the order in which tokens were first seen; sorted by `write`."""

    def __init__(self) -> None:
        self.sides: dict[Side, _SideRows] = {side: _SideRows() for side in SIDES}
        self.numbers = {token: number for number, token in enumerate(SPECIAL)}
        self.beyond = 0  # sequences that `most` has no room for
        self._seen: set[bytes] = set()

    def take(self, one: FoundSequence, config: SequencesConfig, ledger: Ledger) -> None:
        if config.classes and one.label not in config.classes:
            ledger.drop(one.source, "class", f"`{one.label}` is not asked for")
            return
        told = hashlib.blake2b("\x1f".join(one.tokens).encode(), digest_size=16).digest()
        if told in self._seen:
            ledger.drop(one.source, "duplicate", "the same tokens as one before it")
            return
        if len(one.tokens) >= config.longest and not config.window:
            ledger.drop(one.source, "too long", f"{len(one.tokens) + 1} tokens, {config.longest} are allowed")
            return
        self._seen.add(told)
        own: Side = "heldout" if int.from_bytes(told[:8], "big") < config.holdout * 2**64 else "train"
        side = self.sides[one.split or own]
        if side is self.sides["train"] and config.most and len(side.rows) >= config.most:
            self.beyond += 1
            return
        also = VARIANTS.get(config.layout) if config.variants and side is self.sides["train"] else None
        for tokens in (one.tokens, *(also(one.tokens) if also is not None else ())):
            row = np.array([self.numbers.setdefault(token, len(self.numbers)) for token in tokens], np.uint16)
            size = config.window or len(row) + 1
            stride = config.stride or size
            cut = list(_windows(row, size, stride))
            if len(cut) > 1 and tokens is one.tokens:
                ledger.change(one.source, "windows", f"{len(row)} tokens are read as {len(cut)} windows")
            side.rows += [part.tobytes() for part in cut]
            side.sources += [one.source] * len(cut)
            side.labels += [one.label] * len(cut)
            side.places.extend(number for place in range(len(cut)) for number in (len(self._seen), place * stride))

    def write(self, out: Path, config: SequencesConfig) -> dict[str, object]:
        known = [*SPECIAL, *sorted(set(self.numbers) - set(SPECIAL))]
        place = {token: number for number, token in enumerate(known)}
        move = np.array([place[token] for token in self.numbers], np.min_scalar_type(len(known)))
        longest = max(len(row) for side in self.sides.values() for row in side.rows) // 2
        classes = sorted({label for side in self.sides.values() for label in side.labels if label})
        number = {name: index for index, name in enumerate(classes)}
        for name, side in self.sides.items():
            tokens = np.full((len(side.rows), longest), PAD, move.dtype)
            for index, packed in enumerate(side.rows):
                row = np.frombuffer(packed, np.uint16)
                tokens[index, : len(row)] = move[row]
            np.save(out / f"{name}.npy", tokens)
            np.save(out / f"{name}-labels.npy", np.array([number.get(label, -1) for label in side.labels], np.int64))
            np.save(out / f"{name}-places.npy", np.array(side.places, np.int32).reshape(-1, 2))
            write_text(out / f"{name}.sources", "".join(f"{source}\n" for source in side.sources))
        write_json(out / "vocabulary.json", known)
        meta = {"layout": config.layout, "longest": longest, "tokens": len(known), "classes": classes}
        write_json(out / "meta.json", meta)
        return meta


def _windows(row: NDArray[np.uint16], size: int, stride: int) -> Iterator[NDArray[np.uint16]]:
    """Every token is in one at least; only the last one ends, where it has room for that."""
    last = max(0, -(-(len(row) - size) // stride) * stride)
    for start in range(0, last + stride, stride):
        part = row[start : start + size]
        yield np.append(part, np.uint16(END)) if start == last and len(part) < size else part


def load_sequences(path: Path, split: Side) -> SequenceSet:
    """What `prepare_sequences` wrote, tokens mapped. Raises DataError where there is nothing of it."""
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        vocabulary = tuple(json.loads((path / "vocabulary.json").read_text(encoding="utf-8")))
        tokens = np.load(path / f"{split}.npy", mmap_mode="r")
        labels = np.load(path / f"{split}-labels.npy")
        places = np.load(path / f"{split}-places.npy", mmap_mode="r")
        return SequenceSet(tokens, labels, vocabulary, tuple(meta["classes"]), meta["layout"], places)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"there are no sequences: {error}", where=str(path), remedy="Prepare them first.") from error
