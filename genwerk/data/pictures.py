"""Step 1 for pictures: files become arrays of one size, split into what is learned from and what is held out.

    train.npy, heldout.npy       (N, C, H, W) uint8
    train.jsonl, heldout.jsonl   of each: source, sha256 of its pixels, class, text
    meta.json                    shape, names of the classes, whether there are texts
    ledger.jsonl                 what was left out or changed, with the rule
    card.json                    counts

Chosen:   a picture whose pixels were seen already is left out, so that none is on both sides; what is held out is a
          share of every class, by the hash of the pixels: the same pictures, the same split. Where pictures have
          groups, a share of these is, by the hash of their names: a group is on one side only.
Try it:   genwerk run recipes/digits-flow.yaml
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genwerk.core.artifact import Source
from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.hashing import sha256_text
from genwerk.core.jsonl import read_jsonl, write_jsonl
from genwerk.core.progress import say
from genwerk.core.workspace import Step
from genwerk.data.ledger import CHANGED, Ledger
from genwerk.data.picture_files import Pixels, fit_square, pixels_of
from genwerk.data.picture_sources import READERS, Found

__all__ = ["SIDES", "PictureSet", "PicturesConfig", "load_pictures", "prepare_pictures", "read_rows", "write_side"]

Side = Literal["train", "heldout"]
SIDES: tuple[Side, Side] = ("train", "heldout")
_SAID_ALOUD = 8


class PicturesConfig(Config):
    """Which pictures, and what is done to them."""

    layout: Literal["folder", "digits", "emoji", "emoji-styles"] = Field(
        "folder", description="files in folders, or a known package"
    )
    size: int | None = Field(None, ge=4, le=1024, description="side in pixels; none: all must be of one size")
    colours: Literal["auto", "grey", "rgb"] = Field("auto", description="auto is grey where all pictures are")
    holdout: float = Field(0.2, gt=0, lt=1, description="share kept from training, for honest measures")
    license: str = Field("unspecified", description="licence of the pictures, printed on the card")


@dataclass(frozen=True)
class PictureSet:
    """One side of the split: pixels (N, C, H, W), class by number (-1: none) and text of each; names of the classes.

    layout   what pictures stand for: clips (moving_digits.py), sound (sound.py), or empty for what they look like
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    texts: tuple[str, ...]
    classes: tuple[str, ...]
    layout: str = ""

    def __len__(self) -> int:
        return len(self.pixels)


def prepare_pictures(config: PicturesConfig, step: Step, *sources: Source) -> Mapping[str, float | int | str]:
    """Write the pictures of `sources`. Raises DataError: none, only one, of several sizes, or all of one colour."""
    ledger = Ledger()
    found = _cleaned(config, READERS[config.layout](tuple(source.path for source in sources), ledger), ledger)
    _say_problems(ledger)
    _check(found, ledger, sources)
    held = _held_out(found, config.holdout)
    classes = sorted({one.label for one in found if one.label})
    counts = dict[str, int]()
    for side in SIDES:
        rows = [one for one in found if (one.sha256 in held) == (side == "heldout")]
        lines = [{"source": one.source, "sha256": one.sha256, "class": one.label, "text": one.text} for one in rows]
        write_side(step.out, side, np.stack([one.pixels for one in rows]), lines)
        counts[side] = len(rows)
    by_class = dict(sorted(Counter(one.label for one in found).items()))
    meta = {"shape": list(found[0].pixels.shape), "classes": classes, "texts": all(one.text for one in found)}
    write_json(step.out / "meta.json", meta)
    ledger.write(step.out / "ledger.jsonl")
    settings = config.model_dump(mode="json")
    inputs = {one.name: one.sha256 for one in sources}
    dropped, changed = ledger.counts("dropped"), ledger.counts(CHANGED)
    card = {**counts, **meta, "by_class": by_class, "dropped": dropped, "changed": changed,
            "inputs": inputs, "config": settings}  # fmt: skip
    write_json(step.out / "card.json", card)
    return {**counts, "classes": len(classes), "shape": " × ".join(map(str, found[0].pixels.shape)),
            "dropped": sum(dropped.values()), "changed": sum(changed.values())}  # fmt: skip


def write_side(out: Path, side: Side, pixels: Pixels, rows: Sequence[Mapping[str, str]]) -> None:
    """One side of the split; rows: source, sha256, class and text of each."""
    np.save(out / f"{side}.npy", pixels)
    write_jsonl(out / f"{side}.jsonl", rows)


def read_rows(path: Path, side: Side) -> list[dict[str, str]]:
    """What stands beside the pixels. Raises OSError, ValueError."""
    return read_jsonl(path / f"{side}.jsonl")


def load_pictures(path: Path, side: Side) -> PictureSet:
    """What `prepare_pictures` wrote, pixels mapped. Raises DataError where there is nothing of it."""
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        pixels = np.load(path / f"{side}.npy", mmap_mode="r")
        rows = read_rows(path, side)
    except (OSError, ValueError) as error:
        raise DataError(f"there are no pictures: {error}", where=str(path), remedy="Prepare them first.") from error
    number = {name: index for index, name in enumerate(meta["classes"])}
    labels = np.array([number.get(row["class"], -1) for row in rows], np.int64)
    texts = tuple(row["text"] for row in rows)
    return PictureSet(pixels, labels, texts, tuple(meta["classes"]), meta.get("layout", ""))


@dataclass(frozen=True, slots=True)
class _Cleaned:
    source: str
    pixels: Pixels
    sha256: str
    label: str
    text: str
    group: str


def _cleaned(config: PicturesConfig, found: Iterator[Found], ledger: Ledger) -> list[_Cleaned]:
    raw = list(found)
    grey = config.colours == "grey" or (config.colours == "auto" and all(one.picture.image.mode == "L" for one in raw))
    size = config.size or _one_size(raw)
    seen: dict[str, str] = {}
    kept = []
    for one in raw:
        for rule, detail in one.picture.changes:
            ledger.change(one.source, rule, detail)
        image, resized = fit_square(one.picture.image, size) if config.size else (one.picture.image, "")
        if resized:
            ledger.change(one.source, "size", resized)
        pixels = pixels_of(image, grey=grey)
        sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
        if sha256 in seen:
            ledger.drop(one.source, "duplicate", f"the same pixels as {seen[sha256]}")
            continue
        seen[sha256] = one.source
        kept.append(_Cleaned(one.source, pixels, sha256, one.label, one.text, one.group))
    return kept


def _one_size(raw: Sequence[Found]) -> int:
    """0: the pictures are as they are. Raises DataError where they are of several sizes."""
    sizes = Counter(one.picture.image.size for one in raw)
    if len(sizes) > 1:
        common = ", ".join(f"{count} of {w} × {h}" for (w, h), count in sizes.most_common(4))
        shortest = min(min(size) for size in sizes)
        remedy = f"Give `size`, for example {shortest}: pictures are scaled to it, and the middle is kept."
        raise DataError(f"pictures are of {len(sizes)} sizes: {common}", remedy=remedy)
    return 0


def _held_out(found: Sequence[_Cleaned], share: float) -> set[str]:
    """Hashes of those that are held out: of every class the share, and one at least where it has two or more; where
    there are groups, of those the share, and a picture without one is a group of its own."""
    if any(one.group for one in found):
        groups = sorted({one.group or one.sha256 for one in found}, key=sha256_text)
        chosen = set(groups[: max(1, round(share * len(groups)))])
        if len(chosen) == len(groups):
            raise DataError("all pictures are of one group, so none can be held out", remedy="Give several groups.")
        return {one.sha256 for one in found if (one.group or one.sha256) in chosen}
    by_class: dict[str, list[str]] = defaultdict(list)
    for one in found:
        by_class[one.label].append(one.sha256)
    held: set[str] = set()
    for label, members in sorted(by_class.items()):
        if len(members) == 1:
            if label:
                say(f"class `{label}` has one picture only: it is learned from, and nothing of it is held out")
            continue
        held.update(sorted(members)[: max(1, round(share * len(members)))])
    return held or {min(one.sha256 for one in found)}


def _check(found: Sequence[_Cleaned], ledger: Ledger, sources: Sequence[Source]) -> None:
    where = ", ".join(source.name for source in sources)
    left = ledger.summary()
    if len(found) < 2:
        what = f"{len(found)} picture{'' if len(found) == 1 else 's'} can be used" + (f" ({left})" if left else "")
        remedy = "Two are the least, one to learn from and one to hold out; hundreds make sense."
        raise DataError(what, where=where, remedy=remedy)
    constant = sum(int((one.pixels == one.pixels[:, :1, :1]).all()) for one in found)
    if constant == len(found):
        remedy = "Look at them: there is nothing to learn. Are they masks, or were they read as black?"
        raise DataError("every picture is of a single colour", where=where, remedy=remedy)
    if constant:
        say(f"{constant} pictures are of a single colour; they are kept", style="yellow")


def _say_problems(ledger: Ledger) -> None:
    unreadable = [entry for entry in ledger.dropped() if entry.rule == "unreadable"]
    for entry in unreadable[:_SAID_ALOUD]:
        say(f"left out {entry.source}: {entry.detail}", style="yellow")
    if len(unreadable) > _SAID_ALOUD:
        say(f"left out {len(unreadable) - _SAID_ALOUD} more; all are in ledger.jsonl", style="yellow")
    for action, word in (("dropped", "left out in all"), (CHANGED, "changed")):
        if summary := ledger.summary(action):
            say(f"{word}: {summary}")
