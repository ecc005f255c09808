"""`genwerk generate` for generators: pictures go to a grid in a file, sequences to lines and what a file asks for.

pictures    --out x.png   a grid
clips       --out x.png   film strips                x.gif   all at once, moving
sound       --out x.png   spectrograms with axes     x.wav   one file a sample
sequences   --out x.txt   a line each                x.png   structures, or engraved scores
                                                     x.mid, x.musicxml   one file a sample
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from genwerk.core.atomic import write_bytes, write_text
from genwerk.core.errors import RequestError
from genwerk.data.picture_files import UnreadablePictureError, pixels_of, read_picture
from genwerk.data.sequences import line_of, words_of
from genwerk.evaluation.grids import grid, save_picture
from genwerk.generators.family import Ask, sample
from genwerk.generators.picture_examples import to_numbers, to_pixels
from genwerk.generators.rules import rule_for
from genwerk.generators.storage import Stored, load_family

__all__ = ["Drawing", "ask_for", "draw", "generate_samples", "picture_of"]

_IN_A_ROW = 4
_WRITTEN = {
    "": (".png",),
    "clips": (".gif", ".png"),
    "sound": (".wav", ".png"),
    "lines": (".txt",),
    "molecules": (".txt", ".png"),
    "chorales": (".txt", ".png", ".mid", ".musicxml"),
}
"""Endings of files for each layout; pictures have none."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the command line asks; 0, none and empty text leave it to the model."""

    prompt: str = ""
    n: int = 16
    seed: int = 0
    steps: int = 0
    guidance: float = 1.0
    solver: str = ""
    start: Path | None = None
    strength: float = 1.0
    mask: Path | None = None
    average: float = 0.0
    temperature: float = 1.0
    rule: bool = True


def generate_samples(model: Path, drawing: Drawing, out: Path | None) -> tuple[list[str], str]:
    """Lines to be printed, of sequences, and what was done. Raises RequestError, ModelError."""
    stored = load_family(model, average=drawing.average or None)
    if out is not None:
        _check_out(stored, out)
    if stored.vocabulary:
        return write(stored, drawing, out)
    return [], draw(stored, drawing, out or Path("grid.png"))


def _check_out(stored: Stored, out: Path) -> None:
    if not out.parent.is_dir():
        raise RequestError(f"there is no folder {out.parent}", param="out", remedy="Make it first.")
    endings = _WRITTEN[stored.layout]
    if out.suffix.lower() not in endings:
        what = f"{stored.layout or 'pictures'} cannot be written as `{out.suffix.lower()}`"
        raise RequestError(what, param="out", remedy=f"Name a file that ends with {' or '.join(endings)}.")


def draw(stored: Stored, drawing: Drawing, out: Path) -> str:
    """Write pictures, or what they stand for, to `out` and say what was drawn. Raises RequestError."""
    ask = ask_for(stored, drawing)
    started = time.perf_counter()
    made = sample(stored.family, ask, show=True)
    spent = time.perf_counter() - started
    written = _save_pictures(stored, made, out)
    return f"{len(made)} {stored.layout or 'pictures'} of {stored.name} in {spent:.1f} s, seed {drawing.seed}{written}"


def ask_for(stored: Stored, drawing: Drawing) -> Ask:
    """The same as the generator understands it."""
    asked: dict[str, Any] = {"guidance": drawing.guidance, "strength": drawing.strength,
                             "temperature": drawing.temperature}  # fmt: skip
    if drawing.steps:
        asked["steps"] = drawing.steps
    if drawing.solver:
        asked["solver"] = drawing.solver
    names = stored.asked_by(drawing.prompt)
    if names:
        asked["given"] = stored.given([names[index % len(names)] for index in range(drawing.n)])
    if drawing.start is not None:
        asked["start"] = picture_of(drawing.start, stored.family.space.picture).expand(drawing.n, -1, -1, -1)
    if drawing.mask is not None:
        anew = picture_of(drawing.mask, (1, *stored.family.space.picture[1:])) > 0
        asked["keep"] = (~anew).expand(drawing.n, *stored.family.space.shape)
    return Ask(drawing.n, drawing.seed, **asked)


def write(stored: Stored, drawing: Drawing, out: Path | None) -> tuple[list[str], str]:
    """The samples as lines, and what was done; written where `out` says. Raises RequestError."""
    rule = rule_for(stored.layout, stored.vocabulary) if drawing.rule else None
    ask = replace(ask_for(stored, drawing), rule=rule)
    started = time.perf_counter()
    x = sample(stored.family, ask, together=250, show=True).numpy()
    spent = time.perf_counter() - started
    words = [words_of(row, stored.vocabulary) for row in x]
    lines = [line_of(one, stored.layout) for one in words]
    written = _save(stored, words, lines, stored.labels(drawing.prompt, drawing.n), out) if out is not None else ""
    kept = ", by the rule of molecules" if rule is not None else ""
    return lines, f"{drawing.n} samples of {stored.name} in {spent:.1f} s{kept}, seed {drawing.seed}{written}"


def _save_pictures(stored: Stored, made: Tensor, out: Path) -> str:
    if stored.layout == "sound":
        return _save_sound(made, out)
    if stored.layout == "clips":
        from genwerk.evaluation.films import film, strips

        if out.suffix.lower() == ".gif":
            write_bytes(out, film(list(made)))
        else:
            save_picture(strips(list(made)), out)
    else:
        columns = math.ceil(math.sqrt(len(made)))
        save_picture(grid([made[row : row + columns].unbind() for row in range(0, len(made), columns)]), out)
    return _said([out])


def _save_sound(made: Tensor, out: Path) -> str:
    from genwerk.data.fourier import RATE
    from genwerk.data.griffin_lim import hear
    from genwerk.data.synthesis import wav
    from genwerk.evaluation.spectrograms import spectrograms

    if out.suffix.lower() == ".wav":
        places = _places(out, len(made))
        for one, place in zip(to_pixels(made[:, 0]), places, strict=True):
            write_bytes(place, wav(hear(one), RATE))
        return _said(places)
    rows = [made[row : row + _IN_A_ROW, 0] for row in range(0, len(made), _IN_A_ROW)]
    save_picture(spectrograms([("", to_pixels(row)) for row in rows]), out)
    return _said([out])


def _places(out: Path, count: int) -> list[Path]:
    """x.mid alone, or x-1.mid, x-2.mid and so on."""
    return [out] if count == 1 else [out.with_stem(f"{out.stem}-{number}") for number in range(1, count + 1)]


def _said(places: Sequence[Path]) -> str:
    return f": {places[0]}" + (f" to {places[-1].name}" if len(places) > 1 else "")


def _save(
    stored: Stored, words: Sequence[tuple[str, ...]], lines: Sequence[str], labels: Sequence[str], out: Path
) -> str:
    kind = out.suffix.lower()
    if kind == ".txt":
        write_text(out, "".join(f"{line}\n" for line in lines))
        return f": {out}"
    if stored.layout == "molecules":
        return _draw_structures(lines, out)
    from genwerk.data.chorales import Score, to_score
    from genwerk.evaluation.scores import draw_score, write_midi, write_musicxml

    writers: Mapping[str, Callable[[Score, Path], None]]
    writers = {".png": draw_score, ".mid": write_midi, ".musicxml": write_musicxml}
    places = _places(out, len(words))
    for one, metre, place in zip(words, labels, places, strict=True):
        writers[kind](to_score(one, metre), place)
    return _said(places)


def _draw_structures(lines: Sequence[str], out: Path) -> str:
    from genwerk.evaluation.molecules import draw_molecules
    from genwerk.metrics.chemistry import canonical

    valid = [line for line in canonical(lines) if line]
    if not valid:
        what = f"none of {len(lines)} samples is a molecule that could be drawn"
        raise RequestError(what, param="out", remedy="Write them as .txt, or draw them by the rule.")
    draw_molecules(valid, out)
    return f": {out}" + (f", {len(valid)} of {len(lines)} of them drawn" if len(valid) < len(lines) else "")


def picture_of(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """(1, C, H, W) from -1 to 1. Raises RequestError: not there, no picture, of another size than (C, H, W)."""
    try:
        image = read_picture(path).image
    except (UnreadablePictureError, FileNotFoundError) as error:
        raise RequestError(f"{path} cannot be read: {error}", param="start", remedy="Give a picture file.") from None
    channels, height, width = shape
    if image.size != (width, height):
        what = f"{path.name} has {image.width} × {image.height} pixels, the model makes {width} × {height}"
        raise RequestError(what, param="start", remedy="Bring it to that size first.")
    return to_numbers(pixels_of(image, grey=channels == 1))[None]
