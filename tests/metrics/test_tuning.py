"""Tones that are in tune or not, and chords whose voices are known."""

from __future__ import annotations

import numpy as np
import pytest

from genwerk.data.chorales import Note, Score
from genwerk.data.synthesis import render
from genwerk.metrics.tuning import share_in_tune, tones_at, voices

RATE = 16_000


def chord(*pitches: int) -> np.ndarray:
    notes = [(Note(pitch, 0, 8),) for pitch in pitches]
    return render(Score((*notes, *[()] * (4 - len(notes))), 8), RATE) / 8


def tone(cents: float) -> np.ndarray:
    time = np.arange(2 * RATE) / RATE
    return np.sin(2 * np.pi * 440 * 2 ** (cents / 1200) * time)


def test_what_is_off_by_a_quarter_tone_is_out_of_tune() -> None:
    assert share_in_tune(tone(0), RATE) > 0.999 and share_in_tune(tone(1220), RATE) > 0.999
    assert share_in_tune(tone(50), RATE) < 0.001 and share_in_tune(tone(-35), RATE) < 0.02
    assert share_in_tune(np.zeros(RATE), RATE) == 0.0


def test_noise_is_in_tune_by_chance() -> None:
    noise = np.random.default_rng(0).normal(size=4 * RATE)
    assert share_in_tune(noise, RATE) == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize(
    "pitches", [(60,), (72, 48), (72, 67, 64, 48), (69, 65, 62, 50), (74, 69, 65, 50), (73, 69, 64, 57)]
)
def test_the_tones_of_a_chord_are_found(pitches: tuple[int, ...]) -> None:
    sound = chord(*pitches)[8000:12000]
    assert sorted(tones_at(sound / np.abs(sound).max(), RATE)) == sorted(pitches)


def test_voices_are_counted_and_silence_has_none() -> None:
    assert voices(chord(72, 67, 64, 48)[:RATE], RATE) == pytest.approx(4, abs=0.3)
    assert voices(np.zeros(RATE), RATE) == 0.0 and voices(np.zeros(10), RATE) == 0.0
