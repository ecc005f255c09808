"""Scores as files: what is written is read back, by music21 and by ourselves, and the picture shows what it should."""

from __future__ import annotations

import sys
import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from PIL import Image

from genwerk.core.errors import DataError
from genwerk.data.chorales import STEPS_PER_QUARTER, Note, Score, read_scores, steps_in_bar, to_score
from genwerk.data.ledger import Ledger
from genwerk.data.midi import read_midi
from genwerk.data.musicxml import read_musicxml
from genwerk.data.sheets import Part
from genwerk.evaluation.engraving import Key, guess_key, to_musicxml
from genwerk.evaluation.scores import draw_score, write_audio, write_midi, write_musicxml

TOKENS = st.lists(st.sampled_from(["_", "_", "_", "_", "r", "60", "61", "66", "70"]), min_size=4, max_size=200)
CHORALE = Score(
    (
        (Note(67, 12, 4), Note(71, 16, 6), Note(69, 22, 2), Note(67, 24, 8)),
        (Note(62, 12, 4), Note(62, 16, 8), Note(59, 24, 8)),
        (Note(59, 12, 8), Note(57, 20, 4), Note(55, 24, 8)),
        (Note(43, 12, 4), Note(50, 16, 2), Note(48, 18, 2), Note(50, 20, 4), Note(43, 24, 8)),
    ),
    32,
)


def on_grid(part: Part, pickup: int = 0) -> tuple[Note, ...]:
    return tuple(Note(one.pitch, int(one.start * 4) + pickup, int(one.length * 4)) for one in part.notes)


def notes_of(xml: bytes) -> list[etree._Element]:
    return list(etree.fromstring(xml).iter("note"))


def soprano(*pitches: int, length: int = 4) -> Score:
    notes = tuple(Note(pitch, place * length, length) for place, pitch in enumerate(pitches))
    return Score((notes, (), (), ()), len(pitches) * length)


def test_midi_is_what_music21_reads(tmp_path: Path) -> None:
    music21 = pytest.importorskip("music21")
    write_midi(CHORALE, tmp_path / "x.mid", tempo=90)
    stream = music21.converter.parse(tmp_path / "x.mid", forceSource=True, storePickle=False)
    assert [part.partName for part in stream.parts] == ["Soprano", "Alto", "Tenor", "Bass"]
    for part, notes in zip(stream.parts, CHORALE.voices, strict=True):
        found = [(one.pitch.midi, Fraction(one.offset) * 4, Fraction(one.quarterLength) * 4)
                 for one in part.stripTies().flatten().notes]  # fmt: skip
        assert found == [tuple(one) for one in notes]
    assert stream.recurse().getElementsByClass("MetronomeMark")[0].number == 90
    assert stream.recurse().getElementsByClass("TimeSignature")[0].ratioString == "4/4"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TOKENS, st.sampled_from(["4/4", "3/4", "12/8"]))
def test_midi_and_musicxml_lose_nothing(tmp_path: Path, tokens: list[str], metre: str) -> None:
    score = to_score(tokens, metre)
    voices = [notes for notes in score.voices if notes]
    if not voices:
        return
    write_midi(score, tmp_path / "x.mid")
    assert [on_grid(part) for part in read_midi(tmp_path / "x.mid").parts] == voices
    write_musicxml(score, tmp_path / "x.musicxml")
    sheet = read_musicxml(tmp_path / "x.musicxml")
    first = min(notes[0].start for notes in voices)
    first = first if first < steps_in_bar(metre) else 0
    assert sheet.metres == (metre,)
    assert [on_grid(part, first) for part in sheet.parts] == voices


def test_what_is_written_can_be_learned_from(tmp_path: Path) -> None:
    write_midi(CHORALE, tmp_path / "a.mid")
    (found,) = read_scores((tmp_path,), Ledger())
    assert to_score(found.tokens, found.label) == CHORALE
    (tmp_path / "a.mid").unlink()
    write_musicxml(CHORALE, tmp_path / "a.musicxml")
    (found,) = read_scores((tmp_path,), Ledger())
    assert to_score(found.tokens, found.label) == CHORALE


def test_every_bar_is_full_in_every_voice() -> None:
    root = etree.fromstring(to_musicxml(CHORALE))
    for part in root.iter("part"):
        short, *bars = part.iter("measure")
        assert short.get("implicit") == "yes" and len(bars) == 1
        for measure, steps in ((short, 4), (bars[0], 16)):
            for voice in ("1", "2"):
                lengths = [int(note.findtext("duration") or 0) for note in measure.iter("note")
                           if note.findtext("voice") == voice]  # fmt: skip
                assert sum(lengths) == steps


def test_a_note_over_a_bar_line_is_tied() -> None:
    held = [note for note in notes_of(to_musicxml(CHORALE)) if note.find("tie") is not None]
    assert [(note.findtext("duration"), [tie.get("type") for tie in note.iter("tied")]) for note in held] == [
        ("4", ["start"]), ("4", ["stop"]),
    ]  # fmt: skip


@pytest.mark.parametrize(("length", "signs"), [
    (5, [("quarter", 0), ("16th", 0)]), (6, [("quarter", 1)]), (7, [("quarter", 1), ("16th", 0)]),
    (12, [("half", 1)]), (14, [("half", 1), ("eighth", 0)]), (16, [("whole", 0)]), (20, [("whole", 0), ("quarter", 0)]),
])  # fmt: skip
def test_signs_of_a_length(length: int, signs: list[tuple[str, int]]) -> None:
    drawn = [note for note in notes_of(to_musicxml(soprano(60, length=length))) if note.find("pitch") is not None]
    assert [(note.findtext("type"), len(note.findall("dot"))) for note in drawn] == signs


def test_eighths_of_a_beat_are_beamed_and_sixteenths_twice() -> None:
    notes = (Note(60, 0, 2), Note(62, 2, 1), Note(64, 3, 1), Note(65, 4, 3), Note(67, 7, 1), Note(69, 8, 2))
    drawn = notes_of(to_musicxml(Score((notes, (), (), ()), 10)))[:6]
    assert [[beam.text for beam in note.iter("beam")] for note in drawn] == [
        ["begin"], ["continue", "begin"], ["end", "end"], ["begin"], ["end", "backward hook"], [],
    ]  # fmt: skip


@pytest.mark.parametrize(("metre", "beams"), [
    ("12/8", ["begin", "continue", "end"] * 4), ("3/8", ["begin", "continue", "end"] * 4),
    ("6/4", ["begin", "end"] * 6),
])  # fmt: skip
def test_eighths_are_beamed_by_the_beats_of_the_metre(metre: str, beams: list[str]) -> None:
    score = replace(soprano(*[67, 69, 71] * 4, length=2), metre=metre)
    drawn = [note for note in notes_of(to_musicxml(score)) if note.find("pitch") is not None]
    assert [note.findtext("beam") for note in drawn] == beams


def test_a_dotted_beat_is_not_cut() -> None:
    notes = (Note(60, 0, 4), Note(62, 4, 2), Note(64, 6, 6), Note(65, 12, 3), Note(67, 15, 9))
    score = Score((notes, (Note(60, 18, 6),), (), ()), 24, "12/8")
    drawn = [(note.findtext("duration"), note.find("rest") is None) for note in notes_of(to_musicxml(score))]
    own = [("4", True), ("2", True), ("6", True), ("3", True), ("3", True), ("6", True)]
    assert drawn[:8] == [*own, ("12", False), ("6", False)]


def test_a_rest_breaks_a_beam() -> None:
    notes = (Note(60, 0, 1), Note(62, 2, 1), Note(64, 3, 1))
    drawn = [note for note in notes_of(to_musicxml(Score((notes, (), (), ()), 4))) if note.find("pitch") is not None]
    assert [[beam.text for beam in note.iter("beam")] for note in drawn] == [[], ["begin", "begin"], ["end", "end"]]


def test_an_accidental_holds_for_its_bar_and_its_octave() -> None:
    scale = (60, 62, 64, 65, 67, 69, 71, 72) * 3
    pitches = (*scale, 66, 66, 65, 66, 66, 78, 66, 65)
    drawn = notes_of(to_musicxml(soprano(*pitches, length=2)))
    tail = [note for note in drawn if note.find("pitch") is not None][len(scale) :]
    assert [note.findtext("accidental") for note in tail] == [
        "sharp", None, "natural", "sharp", None, "sharp", None, "natural",
    ]  # fmt: skip


def test_keys_are_heard() -> None:
    major, minor = (0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0), (0, 2, 3, 5, 7, 8, 11, 12, 7, 3, 0)
    for tonic, sharps in ((60, 0), (67, 1), (62, 2), (65, -1), (58, -2), (63, -3)):
        assert guess_key(soprano(*(tonic + step for step in major))) == Key(sharps, False)
        assert guess_key(soprano(*(tonic - 3 + step for step in minor))) == Key(sharps, True)
    assert guess_key(soprano()) == Key(0, False)


def test_a_key_is_what_music21_finds(tmp_path: Path) -> None:
    music21 = pytest.importorskip("music21")
    draw = np.random.default_rng(0)
    for tonic in range(12):
        steps = draw.choice([0, 2, 4, 5, 7, 9, 11] if tonic % 2 else [0, 2, 3, 5, 7, 8, 11], 60)
        score = soprano(*(60 + tonic + int(step) for step in steps))
        write_midi(score, tmp_path / "x.mid")
        stream = music21.converter.parse(tmp_path / "x.mid", forceSource=True, storePickle=False)
        theirs = stream.analyze("BellmanBudge")
        found = guess_key(score)
        assert (found.minor, (found.fifths - theirs.sharps) % 12) == (theirs.mode == "minor", 0)  # D flat is C sharp


def test_notes_are_spelt_as_the_key_has_them() -> None:
    assert [Key(0, False).spell(pitch) for pitch in (60, 61, 70, 71, 72)] == [
        ("C", 0, 4), ("C", 1, 4), ("B", -1, 4), ("B", 0, 4), ("C", 0, 5),
    ]  # fmt: skip
    assert Key(0, True).spell(68) == ("G", 1, 4) and Key(-3, False).spell(68) == ("A", -1, 4)
    assert Key(6, False).spell(65) == ("E", 1, 4) and Key(-5, False).spell(59) == ("C", -1, 4)


@pytest.mark.parametrize("fifths", range(-5, 7))
@pytest.mark.parametrize("minor", [False, True])
def test_spelling_keeps_the_pitch(fifths: int, minor: bool) -> None:
    steps = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
    for pitch in range(128):
        step, alter, octave = Key(fifths, minor).spell(pitch)
        assert 12 * (octave + 1) + steps[step] + alter == pitch and abs(alter) <= 2


def test_a_picture_of_two_staves(tmp_path: Path) -> None:
    pytest.importorskip("verovio")
    draw_score(CHORALE, tmp_path / "x.png", width=3200)
    dark = np.asarray(Image.open(tmp_path / "x.png").convert("L")) < 128
    across = dark.mean(1) > 0.6
    assert (across[1:] & ~across[:-1]).sum() == 10  # lines of staves
    assert dark.shape[1] < 1200 and 0.01 < dark.mean() < 0.2  # no wider than what is on it


def test_a_picture_of_several_lines_is_as_wide_as_was_asked(tmp_path: Path) -> None:
    pytest.importorskip("verovio")
    draw_score(soprano(*[67, 69, 71, 72] * 16), tmp_path / "x.png", width=800)
    assert Image.open(tmp_path / "x.png").width == 800


def test_a_picture_of_any_tokens(tmp_path: Path) -> None:
    pytest.importorskip("verovio")
    draw = np.random.default_rng(0)
    tokens = draw.choice(["_", "_", "_", "r", "36", "61", "70", "127", "0", "x"], 4 * 70).tolist()
    for name, score in (("noise", to_score(tokens)), ("silence", to_score(["r"] * 128)), ("nothing", to_score([]))):
        draw_score(score, tmp_path / f"{name}.png")
        assert 100 < Image.open(tmp_path / f"{name}.png").width <= 1600


def test_without_verovio_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "verovio", None)
    with pytest.raises(DataError, match=r"genwerk\[music\]"):
        draw_score(CHORALE, tmp_path / "x.png")


def test_sound_is_as_long_and_as_high_as_it_is_written(tmp_path: Path) -> None:
    write_audio(soprano(69, length=8), tmp_path / "x.wav", tempo=60)
    with wave.open(str(tmp_path / "x.wav")) as file:
        rate, frames = file.getframerate(), file.getnframes()
        samples = np.frombuffer(file.readframes(frames), "<i2").astype(np.float64)
    assert rate == 22_050 and frames / rate == pytest.approx(8 / STEPS_PER_QUARTER + 0.12, abs=0.01)
    assert np.abs(np.fft.rfft(samples)).argmax() * rate / frames == pytest.approx(440, abs=1)
    assert np.abs(samples).max() == pytest.approx(0.8 * 32767, rel=0.01)


def test_sound_can_be_cut_short(tmp_path: Path) -> None:
    write_audio(soprano(*[69] * 40, length=8), tmp_path / "x.wav", seconds=2.0)
    with wave.open(str(tmp_path / "x.wav")) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(2.0, abs=0.001)
