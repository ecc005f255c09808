"""The short-time Fourier transform and the way back: a sound as how much of each frequency there is, frame by frame.

Source: Allen and Rabiner (1977), A unified approach to short-time Fourier analysis and synthesis; Griffin and Lim
(1984), Signal estimation from modified short-time Fourier transform, for the way back.

    Y[t, f] = 2 / (sum w) · sum_n w[n] y[t hop + n] exp(-2πi f n / window)
    y[n]    = sum_t w[n - t hop] y_t[n - t hop] / sum_t w[n - t hop]²     y_t the inverse of Y[t], times (sum w) / 2

w     Hann's window;   |Y| of a sine that lies on a frequency is its amplitude

The way back is the sound whose own transform is nearest to Y in squares; of Y that is a transform it is the sound.

Chosen:   no padding: a sound of (T - 1) hop + window samples has T frames, whose middles are (t + 1/2) hop after EDGE.
Try it:   pytest tests/data/test_mel.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal.windows import hann

__all__ = ["EDGE", "HOP", "RATE", "WINDOW", "frames_to_sound", "sound_to_frames"]

RATE = 16_000  # samples a second
WINDOW, HOP = 2048, 640  # samples: 128 and 40 ms
EDGE = (WINDOW - HOP) // 2
"""Samples at both ends of what `frames_to_sound` gives that belong to the neighbours of the frames."""

_HANN: NDArray[np.float64] = hann(WINDOW, sym=False)
_SCALE = float(_HANN.sum()) / 2


def sound_to_frames(sound: NDArray[np.floating]) -> NDArray[np.complex128]:
    """(…, N) to (…, T, WINDOW / 2 + 1), T = 1 + (N - WINDOW) // HOP. Raises ValueError for less than a window."""
    if sound.shape[-1] < WINDOW:
        raise ValueError(f"{sound.shape[-1]} samples are less than a window of {WINDOW}")
    cut = np.lib.stride_tricks.sliding_window_view(sound, WINDOW, -1)[..., ::HOP, :]
    return np.fft.rfft(cut * _HANN, axis=-1) / _SCALE


def frames_to_sound(frames: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """(…, T, WINDOW / 2 + 1) to (…, (T - 1) HOP + WINDOW)."""
    count = frames.shape[-2]
    pieces = np.fft.irfft(frames, WINDOW, axis=-1) * (_HANN * _SCALE)
    sound, weight = np.zeros((*frames.shape[:-2], (count - 1) * HOP + WINDOW)), np.zeros((count - 1) * HOP + WINDOW)
    for place in range(count):
        here = slice(place * HOP, place * HOP + WINDOW)
        sound[..., here] += pieces[..., place, :]
        weight[here] += _HANN**2
    found: NDArray[np.float64] = sound / np.maximum(weight, 1e-3 * float(weight.max()))
    return found
