"""Scores to sound: every note a sum of sines, soft at both ends.

Source: Risset and Mathews (1969), Analysis of musical-instrument tones, for sums of partials.

    y(t) = e(t) sum_k a_k sin( 2π k f t ),    f = 440 · 2^((pitch - 69) / 12)
    e(t)   rises in 30 ms, fades by e^(-0.6 t), falls in 120 ms once the note has ended

Chosen:   six partials, as loud as those of a soft organ pipe; what lies above half the rate is left out, so nothing is
          mirrored. sin kx = 2 cos x sin (k - 1) x - sin (k - 2) x takes two functions a sample instead of six.
Left out: expression, rooms; every voice is as loud as the others.
Try it:   pytest tests/data/test_mel.py
"""

from __future__ import annotations

import io
import math
import wave

import numpy as np
from numpy.typing import NDArray

from genwerk.data.chorales import STEPS_PER_QUARTER, Score

__all__ = ["render", "wav"]

_PARTIALS = (1.0, 0.5, 0.28, 0.14, 0.07, 0.04)
_ATTACK, _RELEASE = 0.03, 0.12  # seconds
_FADING = 0.6  # a second


def render(score: Score, rate: int, *, tempo: float = 80.0, seconds: float = math.inf) -> NDArray[np.float64]:
    """(N,) samples at `tempo` quarters a minute, at most so many seconds; a voice is about as loud as 1."""
    step = 60 / tempo / STEPS_PER_QUARTER
    length = min(score.steps * step + _RELEASE, seconds)
    sound = np.zeros(math.ceil(length * rate) + 1)
    for notes in score.voices:
        for pitch, start, steps in notes:
            begin = round(start * step * rate)
            if begin < len(sound):
                tone = _tone(pitch, steps * step, rate)[: len(sound) - begin]
                sound[begin : begin + len(tone)] += tone
    return sound


def wav(sound: NDArray[np.floating], rate: int) -> bytes:
    """A WAV file of 16 bits, one channel, whose loudest sample is at 0.8 of what can be."""
    loudest = float(np.abs(sound).max(initial=0.0)) or 1.0
    samples = (sound / loudest * 0.8 * 32767).round().astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def _tone(pitch: int, seconds: float, rate: int) -> NDArray[np.float64]:
    """Equal temperament, A4 at 440 Hz."""
    time = np.arange(math.ceil((seconds + _RELEASE) * rate)) / rate
    hertz = 440.0 * 2 ** ((pitch - 69) / 12)
    angle = 2 * np.pi * hertz * time
    twice, before, partial = 2 * np.cos(angle), np.zeros(len(time)), np.sin(angle)
    tone = np.zeros(len(time))
    for multiple, loudness in enumerate(_PARTIALS, 1):
        if hertz * multiple < rate / 2:
            tone += loudness * partial
        before, partial = partial, twice * partial - before
    tone *= np.minimum(time / _ATTACK, 1.0) * np.clip((seconds + _RELEASE - time) / _RELEASE, 0.0, 1.0)
    tone *= np.exp(-_FADING * time)
    return tone
