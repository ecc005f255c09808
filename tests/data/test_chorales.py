"""Scores of four voices: as music21 reads them, as tokens and back, and what cannot be taken is named."""

from __future__ import annotations

import zipfile
from collections import Counter
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.assets import fetch
from genwerk.core.errors import DataError
from genwerk.data import musicxml
from genwerk.data.chorales import (
    HOLD,
    RANGES,
    REST,
    Note,
    Score,
    read_scores,
    steps_in_bar,
    to_score,
    to_tokens,
    transpose,
)
from genwerk.data.found_sequence import FoundSequence
from genwerk.data.ledger import Ledger
from genwerk.data.midi import read_midi
from genwerk.data.musicxml import read_musicxml
from genwerk.data.sequence_sources import READERS
from genwerk.data.sheets import UnreadableSheetError
from genwerk.evaluation.scores import write_midi

NAMES = ("Soprano", "Alto", "Tenor", "Bass")


@pytest.fixture(scope="module")
def bach() -> Path:
    return fetch("chorales")


@pytest.fixture(scope="module")
def read(bach: Path) -> tuple[dict[str, FoundSequence], Ledger]:
    ledger = Ledger()
    return {one.source: one for one in READERS["chorales"]((bach,), ledger)}, ledger


def note(pitch: str, duration: int, more: str = "") -> str:
    """A quarter is of two divisions; more: "chord", "start" or "stop" of a tie."""
    chord = "<chord/>" if more == "chord" else ""
    tie = f'<tie type="{more}"/>' if more in ("start", "stop") else ""
    step, octave = pitch
    where = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
    return f"<note>{chord}{where}<duration>{duration}</duration>{tie}</note>"


def score_xml(parts: dict[str, list[str]], metre: tuple[int, int] = (4, 4)) -> str:
    """Each part a list of bars; two divisions a quarter."""
    listed = "".join(f'<score-part id="{name}"><part-name>{name}</part-name></score-part>' for name in parts)
    begin = (
        f"<attributes><divisions>2</divisions><time><beats>{metre[0]}</beats>"
        f"<beat-type>{metre[1]}</beat-type></time></attributes>"
    )
    bodies = "".join(
        f'<part id="{name}">'
        + "".join(f"<measure>{begin if place == 0 else ''}{bar}</measure>" for place, bar in enumerate(bars))
        + "</part>"
        for name, bars in parts.items()
    )
    return f"<score-partwise><part-list>{listed}</part-list>{bodies}</score-partwise>"


def four(*bars: str, high: int = 5) -> dict[str, list[str]]:
    """The same bars in every voice, an octave apart, so that `5` in a pitch is the soprano's octave."""
    return {name: [bar.replace(f"<octave>{high}", f"<octave>{high - place}") for bar in bars]
            for place, name in enumerate(NAMES)}  # fmt: skip


def tokens_of(folder: Path, xml: str, ledger: Ledger | None = None) -> list[tuple[str, ...]]:
    folder.mkdir(exist_ok=True)
    (folder / "one.musicxml").write_text(xml, encoding="utf-8")
    return [one.tokens for one in read_scores((folder,), ledger or Ledger())]


def test_all_of_bach(read: tuple[dict[str, FoundSequence], Ledger]) -> None:
    found, ledger = read
    assert len(found) == 379
    assert ledger.counts("dropped") == {
        "duplicate": 19, "metre changes": 5, "uneven bars": 5, "not four voices": 2,
    }  # fmt: skip
    assert Counter(one.label for one in found.values()) == {"4/4": 336, "3/4": 41, "3/2": 1, "12/8": 1}
    assert len({token for one in found.values() for token in one.tokens}) == 48
    for voice, (low, high) in enumerate(RANGES):
        pitches = {int(token) for one in found.values() for token in one.tokens[voice::4] if token.isdigit()}
        assert (min(pitches), max(pitches)) == (low, high)


def test_a_chorale_begins_as_it_is_printed(read: tuple[dict[str, FoundSequence], Ledger]) -> None:
    piece = read[0]["bwv269.mxl"]  # Aus meines Herzens Grunde, in G, with an upbeat
    upbeat, held = ("67", "62", "59", "43"), (HOLD,) * 4
    assert piece.label == "3/4"
    assert piece.tokens[:32] == (REST,) * 32 and piece.tokens[32:52] == (*upbeat, *held * 3, "67", "62", "59", "55")


@pytest.mark.parametrize("name", ["bwv1.6", "bwv269", "bwv248.5", "bwv227.1", "bwv13.6", "bwv120.8-a"])
def test_notes_are_those_that_music21_reads(bach: Path, name: str) -> None:
    music21 = pytest.importorskip("music21")
    path = bach / f"{name}.mxl"
    parts = music21.converter.parse(path, forceSource=True, storePickle=False).parts
    sheet = read_musicxml(path)
    assert len(sheet.parts) == len(parts)
    for mine, theirs in zip(sheet.parts, parts, strict=True):
        wanted = [(pitch.midi, Fraction(one.offset), Fraction(one.quarterLength))
                  for one in theirs.stripTies().flatten().notes for pitch in one.pitches]  # fmt: skip
        assert [(one.pitch, one.start, one.length) for one in mine.notes] == wanted


def test_all_of_bach_goes_to_a_score_and_back(read: tuple[dict[str, FoundSequence], Ledger]) -> None:
    for one in read[0].values():
        assert to_tokens(to_score(one.tokens)) == one.tokens


@given(st.lists(st.sampled_from([HOLD, REST, "60", "61", "127", "128", "", "-1", "²", "x"]), max_size=60))
def test_any_tokens_are_a_score(tokens: list[str]) -> None:
    score = to_score(tokens)
    assert score.steps == len(tokens) // 4 and len(score.voices) == 4
    for notes in score.voices:
        ends = [0, *(one.start + one.length for one in notes)]
        assert all(one.length > 0 and one.start >= end for one, end in zip(notes, ends, strict=False))
        assert all(0 <= one.pitch <= 127 for one in notes) and ends[-1] <= score.steps
    assert to_score(to_tokens(score)) == score


def test_what_a_hold_holds() -> None:
    soprano = to_score([token for step in ("_", "60", "_", "r", "_", "60", "60", "_") for token in (step, *"rrr")])
    assert soprano.voices[0] == (Note(60, 1, 2), Note(60, 5, 1), Note(60, 6, 2)) and soprano.voices[1:] == ((), (), ())


def test_another_key_while_all_can_sing_it(read: tuple[dict[str, FoundSequence], Ledger]) -> None:
    tokens = read[0]["bwv269.mxl"].tokens
    up = transpose(tokens, 2)
    assert up is not None and transpose(up, -2) == tokens == transpose(tokens, 0)
    assert up[32:36] == ("69", "64", "61", "45") and up.count(HOLD) == tokens.count(HOLD)
    assert transpose(tokens, 12) is None
    low = RANGES[3][0]
    assert transpose(["r", "r", "r", str(low)], 0) and transpose(["r", "r", "r", str(low)], -1) is None


def test_ties_dots_and_bars_become_steps(tmp_path: Path) -> None:
    bars = [note("C5", 3) + note("D5", 1) + note("E5", 4, "start"), note("E5", 2, "stop") + note("F5", 6)]
    (tokens,) = tokens_of(tmp_path, score_xml(four(*bars)))
    assert to_score(tokens).voices[0] == (Note(72, 0, 6), Note(74, 6, 2), Note(76, 8, 12), Note(77, 20, 12))
    assert [notes[0].pitch for notes in to_score(tokens).voices] == [72, 60, 48, 36]


def test_an_upbeat_is_filled_up_so_that_bar_lines_are_multiples(tmp_path: Path) -> None:
    (tokens,) = tokens_of(tmp_path, score_xml(four(note("C5", 2), note("D5", 8), note("E5", 6))))
    assert [one.start for one in to_score(tokens).voices[0]] == [12, 16, 32] and len(tokens) == 4 * 44


def test_two_voices_on_a_staff(tmp_path: Path) -> None:
    def staff(upper: str, lower: str) -> str:
        voice = note(lower, 8).replace("</duration>", "</duration><voice>2</voice>")
        return note(upper, 8) + "<backup><duration>8</duration></backup>" + voice

    (tokens,) = tokens_of(tmp_path, score_xml({"Women": [staff("C5", "G4")], "Men": [staff("E4", "C3")]}))
    assert tokens[:4] == ("72", "67", "64", "48")


def test_a_bar_too_short_in_one_part_shifts_nothing(tmp_path: Path) -> None:
    parts = four(note("C5", 8), note("D5", 8))
    parts["Alto"][0] = note("C4", 4)
    (tokens,) = tokens_of(tmp_path, score_xml(parts))
    assert [notes[1].start for notes in to_score(tokens).voices] == [16] * 4


def test_horns_stay_out_and_of_a_chord_one_note_is_sung(tmp_path: Path) -> None:
    ledger = Ledger()
    parts = {"Horn": [note("C5", 8)], **four(*[note("C5", 8)] * 12)}
    parts["Soprano"][0] = note("C5", 8) + note("E5", 8, "chord")
    parts["Bass"][0] = note("C3", 8) + note("C2", 8, "chord")
    (tokens,) = tokens_of(tmp_path, score_xml(parts), ledger)
    assert (tokens[0], tokens[3]) == ("76", "36")
    assert [(one.rule, one.detail) for one in ledger.entries] == [
        ("other parts", "left out: Horn"), ("chords", "2 of 50 notes"),
    ]  # fmt: skip


def test_bars_in_which_nobody_sings_are_left_out(tmp_path: Path) -> None:
    silent, ledger = "<note><rest/><duration>8</duration></note>", Ledger()
    (tokens,) = tokens_of(tmp_path, score_xml(four(silent, note("C5", 8), silent, note("D5", 8))), ledger)
    assert to_score(tokens).voices[0] == (Note(72, 0, 16), Note(74, 16, 16))
    assert ledger.entries[0].detail == "2 of 4 are left out"


CHANGE = "<attributes><time><beats>3</beats><beat-type>4</beat-type></time></attributes>"


@pytest.mark.parametrize(("xml", "rule"), [
    (score_xml({"A": [note("C5", 8)], "B": [note("C4", 8)]}), "not four voices"),
    (score_xml(four(note("C5", 8), CHANGE + note("C5", 6))), "metre changes"),
    (score_xml(four(note("C5", 8))).replace("<time><beats>4</beats><beat-type>4</beat-type></time>", ""), "no metre"),
    (score_xml(four(note("C5", 8)), metre=(1, 32)), "odd metre"),
    (score_xml(four(note("C5", 6), *[note("C5", 8), note("C5", 6)] * 4)), "uneven bars"),
    (score_xml(four("".join([note("C5", 2)] * 3 + [note("E5", 2, "chord")]))), "chords"),
    (score_xml(four("".join([note("C5", 4)] * 6))).replace("<divisions>2", "<divisions>6"), "off the grid"),
    ("<score-partwise/>", "unreadable"),
    ("<score-timewise/>", "unreadable"),
    (score_xml(four(note("C5", 8))).replace("<divisions>2", "<divisions>0"), "unreadable"),
    (score_xml(four(note("X5", 8))), "unreadable"),
    (score_xml(four(note("C5", 99999))), "unreadable"),
    (score_xml(four(*[note("C5", 128)] * 260)), "too long"),
    (score_xml(four(note("C5", 8), note("D5", 8)), metre=(60_000, 4)), "too long"),  # nearly all of it is the upbeat
    (score_xml(four(note("C5", 8), note("D5", 8)), metre=(10**9, 4)), "too long"),
    (score_xml(four(note("C5", 8), note("D5", 8)), metre=(10**4000, 4)), "too long"),
    (score_xml(four(note("C5", 8))).replace("<divisions>2", f"<divisions>{2**14}"), "unreadable"),
    (score_xml(four(note("C5", 8))).replace("</attributes>", "<transpose><chromatic>-70</chromatic></transpose>"
                                            "</attributes>"), "unreadable"),
    ("not a score", "unreadable"),
])  # fmt: skip
def test_what_cannot_be_taken_is_in_the_ledger(xml: str, rule: str, tmp_path: Path) -> None:
    ledger = Ledger()
    assert tokens_of(tmp_path, xml, ledger) == []
    assert [(one.source, one.rule) for one in ledger.entries if one.action == "dropped"] == [("one.musicxml", rule)]


def test_a_piece_in_another_key_is_the_same_piece(tmp_path: Path) -> None:
    tune = [note(f"{letter}5", 2) for letter in "CDEFGABAGFED"]
    bars = ["".join(tune[place : place + 4]) for place in (0, 4, 8)]
    (tmp_path / "a.xml").write_text(score_xml(four(*bars)))
    written = "<transpose><chromatic>-3</chromatic></transpose></attributes>"
    (tmp_path / "b.xml").write_text(score_xml(four(*bars)).replace("</attributes>", written))
    (tmp_path / "c.xml").write_text(score_xml(four(*reversed(bars))))
    ledger = Ledger()
    assert [one.source for one in read_scores((tmp_path,), ledger)] == ["a.xml", "c.xml"]
    assert [(one.source, one.rule) for one in ledger.entries] == [("b.xml", "duplicate")]


def test_slow_pieces_of_few_chords_are_pieces_of_their_own(tmp_path: Path) -> None:
    chords = ((67, 64, 60, 48), (69, 65, 60, 53), (67, 62, 59, 55), (69, 64, 60, 57))
    for number in range(12):
        order = np.random.default_rng(number).integers(0, 4, 16)
        voices = tuple(tuple(Note(chords[one][voice], 16 * place, 16) for place, one in enumerate(order))
                       for voice in range(4))  # fmt: skip
        write_midi(Score(voices, 256), tmp_path / f"{number:02}.mid")
    assert len(list(read_scores((tmp_path,), Ledger()))) == 12


def test_zipped_files_that_are_spoilt(bach: Path, tmp_path: Path) -> None:
    whole = (bach / "bwv269.mxl").read_bytes()
    (tmp_path / "cut.mxl").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.mxl").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "lost.mxl", "w") as archive:
        archive.writestr("META-INF/container.xml", '<container><rootfile full-path="gone.xml"/></container>')
    ledger = Ledger()
    assert list(read_scores((tmp_path,), ledger)) == []
    assert {one.source: one.rule for one in ledger.entries} == dict.fromkeys(
        ["cut.mxl", "empty.mxl", "lost.mxl"], "unreadable"
    )


def test_zipped_files_that_are_large_or_packed_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(musicxml, "_LARGEST", 2**20)
    named = '<container><rootfile full-path="a.xml"/></container>'
    with zipfile.ZipFile(tmp_path / "bomb.mxl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", named.replace("><", ">" + " " * 2**20 + "<"))
        archive.writestr("a.xml", score_xml(four(note("C5", 8))))
    with zipfile.ZipFile(tmp_path / "other.mxl", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("META-INF/container.xml", named)
    packed = bytearray((tmp_path / "other.mxl").read_bytes())
    for place in range(50, 70):
        packed[place] ^= 0xFF
    (tmp_path / "other.mxl").write_bytes(packed)
    (tmp_path / "plain.xml").write_text(score_xml(four(note("C5", 8))) + " " * 2**20)
    ledger = Ledger()
    assert list(read_scores((tmp_path,), ledger)) == []
    assert {one.source: one.detail.split(" ", 1)[1] for one in ledger.entries} == {
        "bomb.mxl": "has more than 1 MiB", "plain.xml": "has more than 1 MiB",
        "other.mxl": "is packed in a way that .mxl files do not know",
    }  # fmt: skip


def test_no_file_is_read_because_a_score_says_so(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    entity = f'<!DOCTYPE x [<!ENTITY told SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    xml = entity + score_xml(four(note("C5", 8))).replace("<part-name>Alto", "<part-name>&told;")
    (tmp_path / "one.xml").write_text(xml)
    assert [part.name for part in read_musicxml(tmp_path / "one.xml").parts] == ["Soprano", "", "Tenor", "Bass"]


def midi(*tracks: bytes, kind: int = 1, division: int = 96) -> bytes:
    head = b"MThd" + (6).to_bytes(4) + kind.to_bytes(2) + len(tracks).to_bytes(2) + division.to_bytes(2)
    return head + b"".join(b"MTrk" + len(one).to_bytes(4) + one for one in tracks)


def test_midi_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "x.mid"
    metre, name = bytes.fromhex("00ff58040302 1808"), b"\x00\xff\x03\x04Alto"
    running = bytes.fromhex("00903c40 603c00 004040 8140 4000")  # a quarter, then two; status said once
    path.write_bytes(midi(metre + name + running + bytes.fromhex("00ff2f00")))
    sheet = read_midi(path)
    assert sheet.metres == ("3/4",) and [part.name for part in sheet.parts] == ["Alto"]
    assert [(one.pitch, one.start, one.length) for one in sheet.parts[0].notes] == [(60, 0, 1), (64, 1, 2)]


def test_a_note_that_is_never_let_go_ends_with_its_track(tmp_path: Path) -> None:
    path = tmp_path / "x.mid"
    path.write_bytes(midi(bytes.fromhex("00903c40 60803c40 00904040 60ff2f00")))
    (part,) = read_midi(path).parts
    assert [(one.pitch, one.start, one.length) for one in part.notes] == [(60, 0, 1), (64, 1, 1)]


def test_a_number_of_midi_ends_after_four_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.mid").write_bytes(midi(b"\xff" * 100_000))
    with pytest.raises(UnreadableSheetError, match="more than four bytes"):
        read_midi(tmp_path / "x.mid")


@pytest.mark.parametrize("content", [
    b"", b"RIFF", midi(b"\x00\x90\x3c"), midi(b"\x00\x90\x3c\x40\x60\x90\x3c\x00", division=0xE728), midi(kind=2),
    midi(b"\x00\x3c\x40"), midi(b"\x00\xff\x2f\x00"), midi(b"\x00\x90\x3c\x40\x60\x90\x3c\x00")[:-3],
    midi(b"\x00\xff\x58\x00"), midi(b"\x83"),
])  # fmt: skip
def test_midi_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.mid").write_bytes(content)
    with pytest.raises(UnreadableSheetError):
        read_midi(tmp_path / "x.mid")


@given(st.binary(max_size=60))
def test_midi_of_noise_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("noise") / "x.mid"
    path.write_bytes(midi(noise))
    with suppress(UnreadableSheetError):
        assert read_midi(path).parts


@given(st.integers(0, 2000), st.integers(0, 40), st.sampled_from(["", "0", "-1", "nan", "1e999", "<", "9" * 5000]))
def test_a_score_that_was_garbled_is_read_or_left_out(
    tmp_path_factory: pytest.TempPathFactory, place: int, size: int, put: str
) -> None:
    xml = score_xml(four(note("C5", 6, "start") + note("C5", 2, "stop"), note("D5", 8)))
    place %= len(xml)
    for one in read_scores((_written(tmp_path_factory, xml[:place] + put + xml[place + size :]),), Ledger()):
        assert len(one.tokens) % 4 == 0


def _written(tmp_path_factory: pytest.TempPathFactory, xml: str) -> Path:
    path = tmp_path_factory.mktemp("garbled") / "x.xml"
    path.write_text(xml)
    return path


def test_metres() -> None:
    assert [steps_in_bar(metre) for metre in ("4/4", "3/4", "12/8", "3/2")] == [16, 12, 24, 24]
    with pytest.raises(ValueError, match="sixteenths"):
        steps_in_bar("1/32")


def test_no_scores_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no scores"):
        list(read_scores((tmp_path,), Ledger()))


def test_a_score_of_one_file(bach: Path) -> None:
    (found,) = read_scores((bach / "bwv269.mxl",), Ledger())
    assert found.source == "bwv269.mxl" and isinstance(to_score(found.tokens, found.label), Score)
