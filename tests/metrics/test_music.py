"""Part-writing, measured: each number in cases known on paper, and runs that were copied found by definition."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.metrics.music import (
    MEASURES,
    Voices,
    copied_melody,
    copied_steps,
    dissonant_onsets,
    out_of_range,
    parallel_fifths,
    parallel_octaves,
    pitch_class_entropy,
    voice_crossings,
)

Line = list[tuple[int, int, int]]


def chords(*pitches: tuple[int, ...], length: int = 4) -> list[Line]:
    """A piece of chords of one length, the highest voice first."""
    return [[(chord[voice], place * length, length) for place, chord in enumerate(pitches)]
            for voice in range(len(pitches[0]))]  # fmt: skip


def moved(voices: Voices, semitones: int) -> Voices:
    return [[(pitch + semitones, start, length) for pitch, start, length in voice] for voice in voices]


C_MAJOR, D_MINOR, G_SEVENTH = (72, 67, 64, 48), (74, 69, 65, 50), (71, 65, 62, 55)

lines = st.lists(
    st.lists(st.tuples(st.integers(40, 80), st.integers(1, 3)), max_size=12).map(
        lambda notes: [(pitch, sum(size for _, size in notes[:place]), size)
                       for place, (pitch, size) in enumerate(notes)]
    ),
    min_size=4, max_size=4,
)  # fmt: skip


def test_entropy_of_one_of_four_and_of_all() -> None:
    assert pitch_class_entropy(chords((60, 48, 36, 72))) == 0.0
    assert pitch_class_entropy(chords((60, 62, 64, 65))) == 2.0
    assert pitch_class_entropy([[(60 + place, place, 1) for place in range(12)]]) == pytest.approx(math.log2(12))


def test_every_note_counts_for_its_own_range() -> None:
    assert out_of_range(chords(C_MAJOR)) == 0.0
    assert out_of_range(chords((59, 67, 64, 48), (60, 67, 70, 48))) == 2 / 8
    assert out_of_range(chords((10, 20)), ranges=((0, 10), (0, 10))) == 0.5
    with pytest.raises(ValueError, match="zip"):
        out_of_range(chords((60, 60)))


def test_a_voice_below_the_next_is_crossed_and_one_at_its_height_is_not() -> None:
    assert voice_crossings(chords(C_MAJOR, (64, 67, 60, 48), (67, 67, 60, 48), C_MAJOR)) == 0.25
    assert voice_crossings([[(60, 0, 4)], [(72, 4, 4)]]) == 0.0  # they never sound together


def test_fifths_and_octaves_that_move_together() -> None:
    fifths, octaves = chords((67, 60), (69, 62)), chords((72, 60), (74, 62))
    assert (parallel_fifths(fifths), parallel_octaves(fifths)) == (100.0, 0.0)
    assert (parallel_fifths(octaves), parallel_octaves(octaves)) == (0.0, 100.0)
    assert parallel_octaves(chords((60, 60), (62, 62))) == 100.0
    assert parallel_fifths(chords(C_MAJOR, D_MINOR)) == 100.0  # of alto and bass
    assert parallel_octaves(chords(C_MAJOR, D_MINOR)) == 100.0  # of soprano and bass


def test_fifths_that_are_not_parallel() -> None:
    assert parallel_fifths(chords((67, 60), (67, 60))) == 0.0  # nothing moves
    assert parallel_fifths(chords((67, 60), (74, 55))) == 0.0  # contrary
    assert parallel_fifths(chords((67, 60), (68, 62))) == 0.0  # to a tritone
    assert parallel_fifths([[(67, 0, 2), (69, 4, 2)], [(60, 0, 2), (62, 4, 2)]]) == 0.0  # a rest between


def test_fifths_of_voices_that_cross_are_fifths_and_fourths_are_none() -> None:
    assert parallel_fifths(chords((60, 67), (62, 69))) == 100.0
    assert parallel_fifths(chords((60, 65), (62, 67))) == 0.0


def test_changes_of_chord_are_what_parallels_are_counted_by() -> None:
    voices: list[Line] = [[(67, 0, 4), (69, 4, 12)], [(60, 0, 4), (62, 4, 12)], [(55, 0, 8), (53, 8, 4), (50, 12, 4)]]
    assert parallel_fifths(voices) == pytest.approx(100 / 3)


def test_dissonant_is_a_second_a_seventh_or_a_tritone_wherever_it_lies() -> None:
    assert dissonant_onsets(chords(C_MAJOR)) == 0.0
    assert dissonant_onsets(chords(C_MAJOR, G_SEVENTH)) == 0.5
    assert [dissonant_onsets(chords((60 + interval, 60))) for interval in range(13)] == [
        0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0,
    ]  # fmt: skip


def test_a_note_held_into_a_dissonance_counts_where_the_other_begins() -> None:
    assert dissonant_onsets([[(72, 0, 8)], [(60, 0, 4), (62, 4, 4)]]) == 0.5


def test_a_copy_is_found_in_any_key_and_its_length_told() -> None:
    piece = chords(C_MAJOR, D_MINOR, G_SEVENTH, C_MAJOR)
    other = chords((60, 55, 52, 36), (76, 72, 67, 48), (60, 57, 53, 41))
    assert copied_steps([piece], [other, piece]) == [16]
    assert copied_steps([moved(piece, 3)], [other, piece]) == [16]
    assert copied_steps([chords(D_MINOR, G_SEVENTH)], [piece]) == [7]  # less the first step, which came from elsewhere


def test_a_copy_in_another_rhythm_is_none_but_the_melody_is_the_same() -> None:
    piece, slower = chords(C_MAJOR, D_MINOR, G_SEVENTH), chords(C_MAJOR, D_MINOR, G_SEVENTH, length=8)
    assert copied_steps([slower], [piece])[0] < 12
    assert copied_melody([moved(slower, -2)], [piece]) == [2]


def test_pieces_are_not_joined() -> None:
    tunes = [[[(60, 0, 1), (62, 1, 1)]], [[(60, 0, 1), (67, 1, 1)]]]
    assert copied_melody([[[(60, 0, 1), (62, 1, 1), (69, 2, 1)]]], tunes) == [1]


@given(st.lists(st.integers(0, 2), max_size=12), st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=3))
def test_the_longest_run_is_the_longest_by_definition(piece: list[int], learned: list[list[int]]) -> None:
    def tune(pitches: list[int]) -> list[Line]:
        return [[(pitch, place, 1) for place, pitch in enumerate(pitches)]]

    def steps(pitches: list[int]) -> list[int]:
        return [after - before for before, after in pairwise(pitches)]

    runs = {tuple(steps(one)[a:b]) for one in learned for a in range(12) for b in range(a, 12)}
    mine = steps(piece)
    longest = max((b - a for a in range(len(mine)) for b in range(a, len(mine) + 1) if tuple(mine[a:b]) in runs),
                  default=0)  # fmt: skip
    assert copied_melody([tune(piece)], [tune(one) for one in learned]) == [longest]


@given(lines)
def test_measures_are_of_intervals_and_shares(voices: list[Line]) -> None:
    for name, measure in MEASURES.items():
        value = measure(voices)
        assert value >= 0.0 and math.isfinite(value)
        if name != "out of range":
            assert value == pytest.approx(measure(moved(voices, 5)))
        if name in ("out of range", "voice crossings", "dissonant onsets"):
            assert value <= 1.0


def test_silence_has_nothing_to_count() -> None:
    silence: list[Line] = [[], [], [], []]
    assert [measure(silence) for measure in MEASURES.values()] == [0.0] * len(MEASURES)
    assert copied_steps([silence], [chords(C_MAJOR)]) == [0] == copied_melody([silence], [chords(C_MAJOR)])
