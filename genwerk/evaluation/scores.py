"""A score of four voices as files that people open: MIDI, an engraved picture, MusicXML and sound.

Source: Standard MIDI Files 1.0, MIDI Manufacturers Association (1988).

Chosen:   engraved by verovio (LGPL-3.0, linked dynamically), made a picture by resvg with a typeface that comes with
          matplotlib: the same on every machine, no system library.
Left out: expression; every note is as loud as the others.
Try it:   pytest tests/evaluation/test_scores.py
"""

from __future__ import annotations

from pathlib import Path

from genwerk.core.atomic import write_bytes
from genwerk.core.errors import DataError
from genwerk.data.chorales import STEPS_PER_QUARTER, VOICES, Note, Score
from genwerk.data.synthesis import render, wav
from genwerk.evaluation.engraving import to_musicxml

__all__ = ["draw_score", "write_audio", "write_midi", "write_musicxml"]

_CHOIR = 52  # program of General MIDI
_LOUDNESS = 80
_PAGE = 2100
_ENGRAVING = {
    "adjustPageHeight": True, "breaks": "auto", "footer": "none", "header": "none", "pageHeight": 60_000,
    "pageWidth": _PAGE, "pageMarginLeft": 60, "pageMarginRight": 60, "pageMarginTop": 60, "pageMarginBottom": 60,
    "scale": 100, "spacingStaff": 15, "spacingSystem": 6,
}  # fmt: skip
_RATE = 22_050


def write_midi(score: Score, path: Path, *, tempo: int = 80) -> None:
    """A standard MIDI file of four tracks, at `tempo` quarters a minute. Raises as `write_bytes`."""
    beats, unit = map(int, score.metre.split("/"))
    metre = _meta(0x58, bytes([beats, unit.bit_length() - 1, 24, 8]))
    begin = _meta(0x51, round(60_000_000 / tempo).to_bytes(3)) + metre
    tracks = [_track(notes, channel, begin if channel == 0 else b"") for channel, notes in enumerate(score.voices)]
    head = b"MThd" + (6).to_bytes(4) + (1).to_bytes(2) + len(tracks).to_bytes(2) + STEPS_PER_QUARTER.to_bytes(2)
    write_bytes(path, head + b"".join(b"MTrk" + len(one).to_bytes(4) + one for one in tracks))


def _track(notes: tuple[Note, ...], channel: int, begin: bytes) -> bytes:
    out = [_meta(0x03, VOICES[channel].capitalize().encode()), begin, bytes([0, 0xC0 | channel, _CHOIR])]
    now = 0
    for pitch, start, length in notes:
        for wait, message in ((start - now, 0x90), (length, 0x80)):
            out.append(_number(wait) + bytes([message | channel, pitch, _LOUDNESS]))
        now = start + length
    return b"".join([*out, _meta(0x2F, b"")])


def _meta(kind: int, data: bytes) -> bytes:
    return bytes([0, 0xFF, kind]) + _number(len(data)) + data


def _number(value: int) -> bytes:
    """Seven bits a byte, the highest first."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def write_musicxml(score: Score, path: Path, *, title: str = "") -> None:
    """A file for a notation program. Raises as `write_bytes`."""
    write_bytes(path, to_musicxml(score, title))


def draw_score(score: Score, path: Path, *, width: int = 1600) -> None:
    """A picture (PNG, `width` pixels wide, less where one line is enough) of the engraved score.

    Raises DataError without the extra `music`, and as `write_bytes`.
    """
    try:
        import resvg_py
        import verovio
    except ImportError as error:
        remedy = "Install them: pip install 'genwerk[music]'."
        raise DataError("scores are drawn by verovio and resvg, which are missing", remedy=remedy) from error
    import matplotlib

    kit, engraved = verovio.toolkit(), ""
    for ragged in (False, True):
        kit.setOptions(_ENGRAVING | {"adjustPageWidth": ragged})
        if not kit.loadData(to_musicxml(score).decode()):
            raise DataError("verovio could not read the score", where=str(path))
        engraved = kit.renderToSVG(1)
        if engraved.count('class="system"') != 1:
            break
    typeface = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSerif.ttf")
    picture = resvg_py.svg_to_bytes(
        svg_string=engraved, zoom=width / _PAGE, background="white", skip_system_fonts=True,
        font_files=[str(typeface)], serif_family="DejaVu Serif", font_family="DejaVu Serif",
    )  # fmt: skip
    write_bytes(path, bytes(picture))


def write_audio(score: Score, path: Path, *, tempo: int = 80, seconds: float = 60.0) -> None:
    """What it sounds like, at most so long, as a WAV file of 22.05 kHz."""
    write_bytes(path, wav(render(score, _RATE, tempo=tempo, seconds=seconds), _RATE))
