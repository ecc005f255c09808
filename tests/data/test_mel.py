"""Sound becomes a picture and comes back: against definitions written out, and for tones whose pitch is known."""

from __future__ import annotations

import io
import wave
from itertools import pairwise

import numpy as np
import pytest

from genwerk.data.chorales import Note, Score
from genwerk.data.fourier import EDGE, HOP, RATE, WINDOW, frames_to_sound, sound_to_frames
from genwerk.data.griffin_lim import convergence, griffin_lim, hear
from genwerk.data.mel import BANDS, HIGHEST, LOWEST, amplitudes, band_middles, filterbank, hertz, mel, mel_picture
from genwerk.data.synthesis import render, wav

FRAMES = 16


def sine(frequency: float, loudness: float = 0.5, frames: int = FRAMES) -> np.ndarray:
    time = np.arange((frames - 1) * HOP + WINDOW) / RATE
    return loudness * np.sin(2 * np.pi * frequency * time)


def loudest_frequency(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 2**18))
    return float(spectrum.argmax() * RATE / 2**18)


def test_the_filterbank_is_what_its_definition_says() -> None:
    low, high = 2595 * np.log10(1 + LOWEST / 700), 2595 * np.log10(1 + HIGHEST / 700)
    points = [700 * (10 ** ((low + (high - low) * place / (BANDS + 1)) / 2595) - 1) for place in range(BANDS + 2)]
    expected = np.zeros((BANDS, WINDOW // 2 + 1))
    for band in range(BANDS):
        lower, middle, upper = points[band : band + 3]
        for place in range(WINDOW // 2 + 1):
            frequency = place * RATE / WINDOW
            if lower < frequency <= middle:
                expected[band, place] = (frequency - lower) / (middle - lower)
            elif middle < frequency < upper:
                expected[band, place] = (upper - frequency) / (upper - middle)
    assert np.allclose(filterbank(), expected, atol=1e-12)
    assert (expected.max(1) > 0.5).all() and np.linalg.matrix_rank(filterbank()) == BANDS
    assert np.allclose(band_middles(), points[1:-1])


def test_mel_and_hertz_are_inverse() -> None:
    frequencies = np.array([0.0, 55.0, 700.0, 3000.0])
    assert np.allclose(hertz(mel(frequencies)), frequencies)
    assert float(mel(700.0)) == pytest.approx(2595 * np.log10(2))


def test_frames_are_the_sum_that_is_written_and_go_back_to_the_sound() -> None:
    draw = np.random.default_rng(0)
    sound = draw.normal(size=3 * HOP + WINDOW)
    frames = sound_to_frames(sound)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    wave_of = np.exp(-2j * np.pi * 100 * np.arange(WINDOW) / WINDOW)
    assert frames.shape == (4, WINDOW // 2 + 1)
    assert frames[2, 100] == pytest.approx(
        2 / window.sum() * (window * sound[2 * HOP : 2 * HOP + WINDOW] * wave_of).sum()
    )
    again = frames_to_sound(frames)
    assert np.allclose(again[EDGE:-EDGE], sound[EDGE:-EDGE])
    with pytest.raises(ValueError, match="less than a window"):
        sound_to_frames(sound[:100])


def test_a_sine_on_a_frequency_is_as_loud_as_its_amplitude() -> None:
    frames = np.abs(sound_to_frames(sine(40 * RATE / WINDOW, 0.3)))
    assert np.allclose(frames[:, 40], 0.3, atol=1e-6)


def test_a_picture_is_louder_where_the_sound_is() -> None:
    picture = mel_picture(sine(440.0))
    assert picture.shape == (BANDS, FRAMES) and picture.dtype == np.uint8
    nearest = BANDS - 1 - int(np.abs(band_middles() - 440.0).argmin())
    assert (picture.argmax(0) == nearest).all()
    assert (mel_picture(np.zeros(WINDOW)) == 0).all()


@pytest.mark.parametrize("frequency", [123.0, 300.0, 440.0, 1000.0, 2200.0])
def test_a_sine_comes_back_at_its_pitch(frequency: float) -> None:
    """Within a frequency of the transform, or half a band where those are wider."""
    found = loudest_frequency(hear(mel_picture(sine(frequency)), rounds=30))
    half = min(abs(after - before) for before, after in pairwise(band_middles()) if after > frequency) / 2
    assert abs(found - frequency) <= max(RATE / WINDOW, half)


def test_what_is_heard_is_as_long_as_its_picture_and_the_same_each_time() -> None:
    picture = mel_picture(sine(440.0))
    first, again = hear(picture, rounds=5), hear(picture, rounds=5)
    assert first.shape == (FRAMES * HOP,) and np.array_equal(first, again)
    assert np.abs(hear(np.zeros((BANDS, FRAMES), np.uint8), rounds=5)).max() == 0


def test_more_rounds_come_nearer_and_the_fast_way_nearer_still() -> None:
    wanted = np.abs(sound_to_frames(sine(300.0) + sine(377.0) + 0.1 * sine(1200.0)))
    few, many = (convergence(griffin_lim(wanted, rounds=rounds, alpha=0.0), wanted) for rounds in (2, 30))
    fast = convergence(griffin_lim(wanted, rounds=30), wanted)
    assert fast < many < few
    assert convergence(sine(300.0) + sine(377.0) + 0.1 * sine(1200.0), wanted) == pytest.approx(0, abs=1e-9)


def test_amplitudes_have_the_picture_as_theirs() -> None:
    """Taken through the bands again they are what was asked for, where that is possible."""
    picture = mel_picture(sine(440.0) + sine(660.0))
    bands = amplitudes(picture) @ filterbank().T
    level = 10 ** ((-70 + 70 * picture[::-1].T / 255.0) / 20)
    loud = level > 0.1
    assert np.allclose(bands[loud], level[loud], rtol=0.25)


def test_a_note_is_the_sum_of_its_partials() -> None:
    score = Score(((Note(69, 0, 4),), (), (), ()), 4)
    sound, rate = render(score, 16_000, tempo=60), 16_000
    time = np.arange(len(sound)) / rate
    middle = slice(round(0.1 * rate), round(0.9 * rate))
    partials = (1.0, 0.5, 0.28, 0.14, 0.07, 0.04)
    expected = sum(a * np.sin(2 * np.pi * 440 * k * time) for k, a in enumerate(partials, 1)) * np.exp(-0.6 * time)
    assert np.allclose(sound[middle], expected[middle], atol=1e-6)
    assert sound[0] == 0 and abs(sound[-2]) < 1e-2
    slow = render(score, 2_000, tempo=60)  # the third partial is above half the rate
    assert loudest_frequency(np.repeat(slow, 8)) == pytest.approx(440.0, abs=2)


def test_a_wav_file_is_read_back() -> None:
    sound = sine(440.0, 0.01)
    with wave.open(io.BytesIO(wav(sound, RATE))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(samples) == len(sound) and np.abs(samples).max() == round(0.8 * 32767)
    assert np.corrcoef(samples, sound)[0, 1] > 0.9999
    assert len(wav(np.zeros(0), RATE)) == 44
