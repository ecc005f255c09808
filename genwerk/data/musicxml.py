"""Sheets of music from MusicXML files, plain or zipped (.mxl).

Source: MusicXML 4.0, W3C Music Notation Community Group (2021), "score-partwise".

A part with several voices on its staff becomes several parts. A bar is as long as its longest part, so one that is
written too short in one part does not shift the others. Repeats are read once, as they are written.

Left out: score-timewise, which nobody writes; grace notes, ornaments, lyrics, fermatas, dynamics.
Chosen:   read by lxml, which is here anyway. Of the 409 files of chorales that come with music21, 406 give the notes
          that music21 reads, in a third of its time; the others are a trumpet's tied chord, an oboe's second voice, and
          a change of metre within a bar.
Try it:   pytest tests/data/test_chorales.py
"""

from __future__ import annotations

import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

from lxml import etree

from genwerk.data.sheets import Part, Sheet, SheetNote, UnreadableSheetError

__all__ = ["read_musicxml"]

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_LARGEST = 64 * 2**20  # bytes of XML
_LONGEST_BAR = 64  # quarters
_MOST_DIVISIONS = 16_383  # of a quarter: the most that MIDI can say, which MusicXML asks to keep to


def read_musicxml(path: Path) -> Sheet:
    """Raises UnreadableSheetError: no MusicXML, spoilt, or of a kind that is left out."""
    try:
        root = _parsed(_unpacked(path) if path.suffix.lower() == ".mxl" else _plain(path))
        if root.tag != "score-partwise":
            raise UnreadableSheetError(f"<{root.tag}> is not a score of parts")
        return _sheet(root)
    except etree.XMLSyntaxError as error:
        raise UnreadableSheetError(f"no XML: {error}") from error
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError) as error:
        raise UnreadableSheetError(str(error) or type(error).__name__) from error
    except (ValueError, ArithmeticError) as error:
        raise UnreadableSheetError(f"a number cannot be: {error}") from error


def _unpacked(path: Path) -> bytes:
    """The score in a zipped file: the one that its container names."""
    with zipfile.ZipFile(path) as archive:
        container = _parsed(_member(archive, "META-INF/container.xml"))
        return _member(archive, next((str(one.get("full-path")) for one in container.iter("{*}rootfile")), ""))


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    told = archive.getinfo(name)
    _refuse_large(name, told.file_size)
    if told.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableSheetError(f"{name} is packed in a way that .mxl files do not know")
    return archive.read(name)


def _plain(path: Path) -> bytes:
    _refuse_large(path.name, path.stat().st_size)
    return path.read_bytes()


def _refuse_large(name: str, size: int) -> None:
    if size > _LARGEST:
        raise UnreadableSheetError(f"{name} has more than {_LARGEST >> 20} MiB")


def _parsed(content: bytes) -> etree._Element:
    return etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))


@dataclass(slots=True)
class _Bar:
    """Notes (voice, pitch, start in the bar, length, goes on, is continued), and how far the bar reaches."""

    notes: list[tuple[str, int, Fraction, Fraction, bool, bool]] = field(default_factory=list)
    length: Fraction = Fraction(0)
    metre: str = ""


def _sheet(root: etree._Element) -> Sheet:
    names = {str(one.get("id")): " ".join((one.findtext("part-name") or "").split()) for one in root.iter("score-part")}
    parts = [(names.get(str(part.get("id")), ""), list(_bars(part))) for part in root.iterchildren("part")]
    count = max((len(bars) for _, bars in parts), default=0)
    lengths = [max(bars[place].length for _, bars in parts if place < len(bars)) for place in range(count)]
    starts = list(accumulate(lengths[:-1], initial=Fraction(0)))
    metres: list[str] = []
    for place in range(count):
        told = next((bars[place].metre for _, bars in parts if place < len(bars) and bars[place].metre), "")
        if told and metres[-1:] != [told]:
            metres.append(told)
    whole = Fraction(metres[0]) * 4 if metres else Fraction(0)
    pickup = whole - lengths[0] if count > 1 and lengths[0] < whole else Fraction(0)
    lines = [line for name, bars in parts for line in _lines(name, bars, starts)]
    if not lines:
        raise UnreadableSheetError("there are no notes")
    return Sheet(tuple(lines), tuple(metres), pickup, tuple(starts))


def _bars(part: etree._Element) -> Iterator[_Bar]:
    """Every bar of a part, with what holds on from bar to bar: divisions of a quarter, and transposition."""
    divisions, shift = 1, 0
    for measure in part.iterchildren("measure"):
        bar, now, last = _Bar(), Fraction(0), Fraction(0)
        for item in measure.iterchildren("attributes", "note", "backup", "forward"):
            if item.tag == "attributes":
                divisions = _divisions(item, divisions)
                shift = _shift(item, shift)
                bar.metre = _metre(item) or bar.metre
                continue
            length = Fraction(float(item.findtext("duration") or 0)) / divisions
            if item.tag != "note":
                now = max(now + (length if item.tag == "forward" else -length), Fraction(0))
            elif item.find("grace") is None and item.find("cue") is None:
                start = last if item.find("chord") is not None else now
                if (pitch := _pitch(item, shift)) is not None and length > 0:
                    ties = {one.get("type") for one in item.iterchildren("tie")}
                    voice = f"{item.findtext('staff') or 1}.{item.findtext('voice') or 1}"
                    bar.notes.append((voice, pitch, start, length, "start" in ties, "stop" in ties))
                last, now = start, max(now, start + length)
            bar.length = max(bar.length, now)
        if bar.length > _LONGEST_BAR:
            raise UnreadableSheetError(f"bar {measure.get('number')} has {float(bar.length):.0f} quarters")
        yield bar


def _lines(name: str, bars: list[_Bar], starts: list[Fraction]) -> Iterator[Part]:
    """A part for each voice, ties joined."""
    voices: defaultdict[str, list[SheetNote]] = defaultdict(list)
    held: dict[tuple[str, int], int] = {}  # place of the note that a tie goes on from
    for bar, begin in zip(bars, starts, strict=False):
        for voice, pitch, start, length, goes_on, continued in bar.notes:
            notes, key = voices[voice], (voice, pitch)
            before = held.pop(key, None) if continued else None
            if before is not None and notes[before].end == begin + start:
                notes[before] = SheetNote(pitch, notes[before].start, notes[before].length + length)
            else:
                before = len(notes)
                notes.append(SheetNote(pitch, begin + start, length))
            if goes_on:
                held[key] = before
    for notes in voices.values():
        yield Part(name, tuple(sorted(notes, key=lambda note: (note.start, note.pitch))))


def _divisions(attributes: etree._Element, before: int) -> int:
    told = int(attributes.findtext("divisions") or before)
    if not 1 <= told <= _MOST_DIVISIONS:
        raise ValueError(f"a quarter of {told} divisions")
    return told


def _pitch(note: etree._Element, shift: int) -> int | None:
    """As it sounds, `shift` semitones from what is written; None for a rest."""
    pitch = note.find("pitch")
    if pitch is None:
        return None
    alter = round(float(pitch.findtext("alter") or 0))
    written = 12 * (int(pitch.findtext("octave") or 4) + 1) + _STEPS[(pitch.findtext("step") or "").strip()] + alter
    number = written + shift
    if not 0 <= number <= 127:
        raise ValueError(f"a pitch of {number}")
    return number


def _shift(attributes: etree._Element, before: int) -> int:
    """Semitones from what is written to what sounds, for instruments that transpose."""
    told = attributes.find("transpose")
    if told is None:
        return before
    return round(float(told.findtext("chromatic") or 0)) + 12 * int(told.findtext("octave-change") or 0)


def _metre(attributes: etree._Element) -> str:
    beats, unit = attributes.findtext("time/beats"), attributes.findtext("time/beat-type")
    return f"{int(beats)}/{int(unit)}" if beats and unit and "+" not in beats else ""
