"""Four-part music as tokens: soprano, alto, tenor and bass on a grid of sixteenths.

Source: Hadjeres, Pachet and Nielsen (2017), DeepBach; Huang et al. (2019), Counterpoint by convolution (Coconet).

    S A T B  S A T B  …     four tokens a sixteenth: "60" a note of that MIDI number begins, "_" it is held, "r" rest

A bar line falls on every multiple of a bar: a bar that begins with its upbeat is filled up with rests before it. The
class of a piece is its metre, so that whoever draws or counts it knows where the bars are.

Chosen:   sixteenths. Of the onsets of Bach's chorales 0.01 % lie off them; off eighths lie 1.3 %, in two pieces of
          three, and other music has more. It costs twice the tokens, but seven in ten are then holds, which are cheap.
          Four voices by name where the parts are called so (then horns and continuo stay out), else by their height.
Left out: fermatas, words, repeats (read once), triplets, which are rounded.
Try it:   pytest tests/data/test_chorales.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor
from pathlib import Path
from typing import NamedTuple

from genwerk.core.errors import DataError
from genwerk.core.progress import track
from genwerk.data.found_sequence import FoundSequence
from genwerk.data.ledger import Ledger
from genwerk.data.midi import read_midi
from genwerk.data.musicxml import read_musicxml
from genwerk.data.sheets import Part, Sheet, UnreadableSheetError

__all__ = ["HOLD", "RANGES", "REST", "STEPS_PER_QUARTER", "VOICES", "Note", "Score", "other_keys", "read_scores",
           "steps_in_bar", "to_score", "to_tokens", "transpose"]  # fmt: skip

HOLD, REST = "_", "r"
VOICES = ("soprano", "alto", "tenor", "bass")
STEPS_PER_QUARTER = 4
RANGES = ((57, 81), (53, 74), (48, 69), (36, 64))  # lowest and highest note of each voice in Bach's chorales

_READERS = {".mxl": read_musicxml, ".musicxml": read_musicxml, ".xml": read_musicxml, ".mid": read_midi,
            ".midi": read_midi}  # fmt: skip
_NAMES = {
    "soprano": 0, "sopran": 0, "soprani": 0, "s": 0, "discant": 0, "cantus": 0, "canto": 0,
    "alto": 1, "alt": 1, "alti": 1, "a": 1, "altus": 1, "contralto": 1,
    "tenor": 2, "tenore": 2, "tenori": 2, "t": 2,
    "bass": 3, "basso": 3, "bassi": 3, "b": 3, "bassus": 3,
}  # fmt: skip
_MOST_OFF = 0.05  # of the notes may be off the grid, or sung together with another of the same voice
_MOST_STRAY = 0.1  # of the bars may begin off the bar lines
_MOST_SEEN = 0.25  # of the passages may be in pieces before
_LONGEST = 2**16  # steps
_PASSAGE = 8  # steps at which a note begins, however far apart


class Note(NamedTuple):
    """A note of MIDI number `pitch` (60 is middle C); start and length in sixteenths."""

    pitch: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Score:
    """Four voices, the soprano first, each in the order of starts and without overlaps; steps: length of it all."""

    voices: tuple[tuple[Note, ...], ...]
    steps: int
    metre: str = "4/4"


def read_scores(paths: tuple[Path, ...], ledger: Ledger) -> Iterator[FoundSequence]:
    """Every score of four voices in folders of MusicXML (.mxl, .musicxml, .xml) and MIDI files, by name.

    What is left out, or rounded, is in the ledger. A piece that repeats another, in whichever key, is left out: it
    could be on the other side when the rest is split. Raises DataError where there are no such files.
    """
    files: list[tuple[str, Path]] = []
    for path in paths:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [(one.relative_to(path).as_posix() if path.is_dir() else one.name, one) for one in found
                  if one.suffix.lower() in _READERS and one.is_file()]  # fmt: skip
    if not files:
        where = ", ".join(map(str, paths))
        raise DataError("there are no scores", where=where, remedy="Name a folder with MusicXML or MIDI files.")
    seen: dict[int, str] = {}
    with track("reading scores", total=len(files), unit="files") as bar:
        for name, file in files:
            try:
                score = _lay_on_grid(name, _READERS[file.suffix.lower()](file), ledger)
                tokens = to_tokens(score)
                _refuse_again(name, tokens, seen)
            except UnreadableSheetError as reason:
                ledger.drop(name, "unreadable", str(reason).replace(str(file), name))
            except _UnfitError as reason:
                ledger.drop(name, reason.rule, str(reason))
            else:
                yield FoundSequence(name, tokens, score.metre)
            bar.advance()


def to_tokens(score: Score) -> tuple[str, ...]:
    """Four tokens a step, see above."""
    tokens = [REST] * (4 * score.steps)
    for voice, notes in enumerate(score.voices):
        for pitch, start, length in notes:
            for step in range(start, start + length):
                tokens[4 * step + voice] = HOLD if step > start else str(pitch)
    return tuple(tokens)


def to_score(tokens: Sequence[str], metre: str = "") -> Score:
    """What tokens sound like, whatever they are: a hold after a rest is a rest, and so is a token that is no note;
    a last step that is not whole is left out. metre: 4/4 where it is not known."""
    steps = len(tokens) // 4
    voices: list[tuple[Note, ...]] = []
    for voice in range(4):
        notes: list[Note] = []
        for step, token in enumerate(tokens[voice : 4 * steps : 4]):
            if token == HOLD:
                if notes and notes[-1].start + notes[-1].length == step:
                    notes[-1] = notes[-1]._replace(length=notes[-1].length + 1)
            elif (pitch := _pitch(token)) is not None:
                notes.append(Note(pitch, step, 1))
        voices.append(tuple(notes))
    return Score(tuple(voices), steps, metre or "4/4")


def transpose(tokens: Sequence[str], semitones: int) -> tuple[str, ...] | None:
    """The same piece in another key; None where a voice is beyond its RANGES, so that no new notes are needed."""
    moved: list[str] = []
    for place, token in enumerate(tokens):
        if (pitch := _pitch(token)) is not None:
            low, high = RANGES[place % 4]
            if not low <= pitch + semitones <= high:
                return None
            token = str(pitch + semitones)
        moved.append(token)
    return tuple(moved)


def other_keys(tokens: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The piece in every other key in which all voices keep to their RANGES."""
    for semitones in (*range(-11, 0), *range(1, 12)):
        if (moved := transpose(tokens, semitones)) is not None:
            yield moved


def _pitch(token: str) -> int | None:
    """Of a token that is a note."""
    return int(token) if token.isascii() and token.isdigit() and int(token) <= 127 else None


def steps_in_bar(metre: str) -> int:
    """Sixteenths in a bar: 16 for "4/4". Raises ValueError for what is no metre of whole sixteenths."""
    steps = Fraction(metre) * 4 * STEPS_PER_QUARTER
    if steps <= 0 or steps.denominator != 1:
        raise ValueError(f"a bar of {metre} has no whole number of sixteenths")
    return int(steps)


class _UnfitError(Exception):
    """A sheet that is not four-part music as it is wanted here: by which rule, and what was found."""

    def __init__(self, rule: str, detail: str) -> None:
        self.rule = rule
        super().__init__(detail)


def _lay_on_grid(name: str, sheet: Sheet, ledger: Ledger) -> Score:
    if len(sheet.metres) != 1:
        raise _UnfitError("metre changes" if sheet.metres else "no metre", ", ".join(sheet.metres) or "none is written")
    metre = sheet.metres[0]
    try:
        bar = steps_in_bar(metre)
    except (ValueError, ZeroDivisionError) as error:
        raise _UnfitError("odd metre", str(error)) from None
    if (sheet.pickup + max(note.end for part in sheet.parts for note in part.notes)) * STEPS_PER_QUARTER > _LONGEST:
        raise _UnfitError("too long", f"more than {_LONGEST} sixteenths")
    stray = _stray_bars(sheet, bar)
    if stray > _MOST_STRAY * len(sheet.bars):
        raise _UnfitError("uneven bars", f"{stray} of {len(sheet.bars)} begin off the lines of {metre}")
    parts = _four(sheet.parts, name, ledger)
    voices = [_voice(part, sheet.pickup, lowest=place == 3) for place, part in enumerate(parts)]
    if not all(one.notes for one in voices):
        raise _UnfitError("not four voices", "one has no note as long as a sixteenth")
    for rule, counts in (("off the grid", [one.off for one in voices]), ("chords", [one.chords for one in voices])):
        total, count = sum(len(part.notes) for part in parts), sum(counts)
        if count > _MOST_OFF * total:
            raise _UnfitError(rule, f"{count} of {total} notes")
        if count:
            ledger.change(name, rule, f"{count} of {total} notes")
    return _without_silence([one.notes for one in voices], metre, bar, name, ledger)


def _refuse_again(name: str, tokens: tuple[str, ...], seen: dict[int, str]) -> None:
    """Raise _UnfitError for a piece many of whose passages were seen before; else add them."""
    passages = _passages(tokens)
    again = Counter(seen[one] for one in passages if one in seen)
    if again.total() > _MOST_SEEN * len(passages):
        share, other = again.total() / len(passages), again.most_common(1)[0][0]
        raise _UnfitError("duplicate", f"{share:.0%} of its passages, in whichever key, came before, most in {other}")
    seen.update(dict.fromkeys(passages, name))


def _passages(tokens: tuple[str, ...]) -> list[int]:
    """Hashes of all runs of onsets and how long each lasts, which know nothing of the key: notes count from the bass,
    the bass from before."""
    onsets: list[tuple[int | str, ...]] = []
    begun = 0
    sounding, before = [0] * 4, 0
    for place in range(0, len(tokens), 4):
        step = tokens[place : place + 4]
        if not any(token.isdigit() for token in step):
            continue
        sounding = [int(token) if token.isdigit() else now for token, now in zip(step, sounding, strict=True)]
        bass = sounding[3]
        above = [pitch - bass if token.isdigit() else token for token, pitch in zip(step, sounding, strict=True)]
        onsets.append((*above, bass - before, place - begun))
        before, begun = bass, place
    return [hash(tuple(onsets[place : place + _PASSAGE])) for place in range(1, len(onsets) - _PASSAGE + 1)]


def _stray_bars(sheet: Sheet, bar: int) -> int:
    """How many bars neither begin nor end on a bar line; those that a repeat splits in two do one of both."""
    last = max(note.end for part in sheet.parts for note in part.notes)
    lines = [(place + sheet.pickup) * STEPS_PER_QUARTER % bar == 0 for place in (*sheet.bars, last)]
    return sum(not begin and not end for begin, end in pairwise(lines))


def _four(parts: tuple[Part, ...], name: str, ledger: Ledger) -> tuple[Part, ...]:
    """Soprano, alto, tenor, bass."""
    named: list[list[Part]] = [[] for _ in VOICES]
    for part in parts:
        first = part.name.lower().replace(".", " ").split()[:1]
        if first and first[0] in _NAMES:
            named[_NAMES[first[0]]].append(part)
    if all(len(group) == 1 for group in named):
        chosen = tuple(group[0] for group in named)
        if others := [part.name or "one without a name" for part in parts if part not in chosen]:
            ledger.change(name, "other parts", f"left out: {', '.join(others)}")
        return chosen
    if len(parts) != 4:
        raise _UnfitError("not four voices", f"{len(parts)}: {', '.join(part.name or 'unnamed' for part in parts)}")
    return tuple(sorted(parts, key=lambda part: -sum(note.pitch for note in part.notes) / len(part.notes)))


@dataclass(frozen=True, slots=True)
class _Voice:
    notes: tuple[Note, ...]
    off: int  # notes that were moved or lost by rounding
    chords: int  # notes that another one was kept for


def _voice(part: Part, pickup: Fraction, *, lowest: bool) -> _Voice:
    """One note at a time. Of notes that begin together the highest stays, in the bass the lowest; the next cuts off
    the one before."""
    kept: dict[int, Note] = {}
    off = chords = 0
    for note in part.notes:
        start = (pickup + note.start) * STEPS_PER_QUARTER
        step, end = (floor(place + Fraction(1, 2)) for place in (start, start + note.length * STEPS_PER_QUARTER))
        if step >= end or abs(start - step) > Fraction(1, 4):
            off += 1
        if step >= end:
            continue
        if step in kept:
            chords += 1
            if lowest == (note.pitch > kept[step].pitch):
                continue
        kept[step] = Note(note.pitch, step, end - step)
    starts = sorted(kept)
    cut = [kept[step]._replace(length=min(kept[step].length, after - step))
           for step, after in zip(starts, [*starts[1:], _LONGEST + 1], strict=True)]  # fmt: skip
    return _Voice(tuple(cut), off, chords)


def _without_silence(voices: Sequence[tuple[Note, ...]], metre: str, bar: int, name: str, ledger: Ledger) -> Score:
    """Whole bars in which nobody sings are left out: preludes and interludes of instruments."""
    steps = max((notes[-1].start + notes[-1].length for notes in voices if notes), default=0)
    sung = [False] * -(-steps // bar)
    for notes in voices:
        for note in notes:
            for place in range(note.start // bar, -(-(note.start + note.length) // bar)):
                sung[place] = True
    if not all(sung):
        ledger.change(name, "silent bars", f"{sung.count(False)} of {len(sung)} are left out")
    before = [place - there for place, there in enumerate(accumulate(sung, initial=0))]
    moved = [tuple(note._replace(start=note.start - bar * before[note.start // bar]) for note in notes)
             for notes in voices]  # fmt: skip
    return Score(tuple(moved), steps - bar * sung.count(False), metre)
