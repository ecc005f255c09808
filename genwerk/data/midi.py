"""Sheets of music from standard MIDI files: the notes of each track and channel are a part.

Source: Standard MIDI Files 1.0, MIDI Manufacturers Association (1988).

Left out: tempo, since a grid counts beats and not seconds; format 2, whose tracks are pieces of their own.
Try it:   pytest tests/data/test_chorales.py
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from genwerk.data.sheets import Part, Sheet, SheetNote, UnreadableSheetError

__all__ = ["read_midi"]

_NAME, _METRE = 0x03, 0x58
_DRUMS = 9
_LENGTHS = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}  # bytes of data of each kind of message


@dataclass(frozen=True, slots=True)
class _Event:
    """At a tick: a message of a channel (kind 8 to 14), or a meta event (kind 255, its type in `channel`)."""

    tick: int
    kind: int
    channel: int
    data: bytes


def read_midi(path: Path) -> Sheet:
    """Raises UnreadableSheetError: no MIDI file, cut short, timed in seconds, or without notes."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableSheetError(str(error)) from error
    if content[:4] != b"MThd":
        raise UnreadableSheetError("it does not begin as a MIDI file does")
    kind, division = int.from_bytes(content[8:10]), int.from_bytes(content[12:14])
    if kind > 1 or division == 0 or division & 0x8000:
        raise UnreadableSheetError("its time is not counted in beats" if kind < 2 else "its tracks are separate pieces")
    parts: list[Part] = []
    metres: list[tuple[int, str]] = []
    try:
        for track in _tracks(content):
            events = list(_events(track))
            metres += [(one.tick, f"{one.data[0]}/{2 ** one.data[1]}") for one in events
                       if one.kind == 255 and one.channel == _METRE]  # fmt: skip
            name = next((one.data for one in events if one.kind == 255 and one.channel == _NAME), b"")
            parts += _parts(name.decode("utf-8", "replace").strip(), events, division)
    except IndexError:
        raise UnreadableSheetError("it is cut short") from None
    if not parts:
        raise UnreadableSheetError("there are no notes")
    told = [metre for _, metre in sorted(metres)] or ["4/4"]  # what the format takes where nothing is said
    return Sheet(tuple(parts), tuple(one for place, one in enumerate(told) if told[place - 1 : place] != [one]))


def _tracks(content: bytes) -> Iterator[bytes]:
    place = 8 + int.from_bytes(content[4:8])
    while place + 8 <= len(content):
        size = int.from_bytes(content[place + 4 : place + 8])
        if place + 8 + size > len(content):
            raise IndexError
        if content[place : place + 4] == b"MTrk":
            yield content[place + 8 : place + 8 + size]
        place += 8 + size


def _events(track: bytes) -> Iterator[_Event]:
    place, tick, status = 0, 0, 0
    while place < len(track):
        waited, place = _number(track, place)
        tick += waited
        if track[place] & 0x80:
            status = track[place]
            place += 1
        if status >= 0xF0:
            meta = track[place] if status == 0xFF else 0
            size, place = _number(track, place + (status == 0xFF))
            yield _Event(tick, status, meta, track[place : place + size])
            place, status = place + size, 0
        elif status:
            size = _LENGTHS[status >> 4]
            if place + size > len(track):
                raise IndexError
            yield _Event(tick, status >> 4, status & 15, track[place : place + size])
            place += size
        else:
            raise IndexError


def _number(track: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, four bytes at most, and the place behind it."""
    value = 0
    for at in range(place, place + 4):
        value = value << 7 | track[at] & 0x7F
        if not track[at] & 0x80:
            return value, at + 1
    raise UnreadableSheetError("a number has more than four bytes")


def _parts(name: str, events: list[_Event], division: int) -> Iterator[Part]:
    """One for each channel that has notes, less the drums; what is never let go ends with the track."""
    sounding: dict[tuple[int, int], int] = {}  # channel and pitch to the tick it began at
    notes: defaultdict[int, list[SheetNote]] = defaultdict(list)

    def end(channel: int, pitch: int, tick: int) -> None:
        begun = sounding.pop((channel, pitch), tick)
        if tick > begun:
            notes[channel].append(SheetNote(pitch, Fraction(begun, division), Fraction(tick - begun, division)))

    for one in events:
        if one.kind not in (0x8, 0x9) or one.channel == _DRUMS:
            continue
        end(one.channel, one.data[0], one.tick)
        if one.kind == 0x9 and one.data[1]:
            sounding[one.channel, one.data[0]] = one.tick
    for channel, pitch in tuple(sounding):
        end(channel, pitch, events[-1].tick)
    for found in notes.values():
        yield Part(name, tuple(sorted(found, key=lambda note: (note.start, note.pitch))))
