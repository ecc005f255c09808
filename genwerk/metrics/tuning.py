"""Sound of several voices, measured: is it in tune, and how many voices are there?

Source: Klapuri (2006), Multiple fundamental frequency estimation by summing harmonic amplitudes.

    in tune   share of the energy between 110 Hz and 2 kHz that lies within 30 cents of a tone of equal temperament
    voices    tones that sound together: the one of greatest salience is taken, what it explains of its partials (the
              k-th a k-th of the first) is taken away, and so on, while the next is a third as salient as the first
    s(f)      sum_k g(k, f) max |Y| around k f,        g(k, f) = (f + 27 Hz) / (k f + 320 Hz),   k = 1 … 6

cents   1200 log2( f / 440 Hz ), from the nearest multiple of 100. By chance 0.6 lie within 30 of it; the width of a
        line (a tone of 0.3 s is 3 Hz wide) costs low tones some, so real sound gives what to compare with.

Left out: other tunings; voices an octave apart, whose partials coincide, are often taken for one.
Try it:   pytest tests/metrics/test_tuning.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["share_in_tune", "tones_at", "voices"]

_LOWEST, _HIGHEST = 110.0, 2000.0
_PITCHES = np.arange(36, 85)
_PARTIALS = 6
_SALIENT = 1 / 3
_MOST = 8
_WINDOW = 0.25  # seconds
_SILENT = 1e-3


def share_in_tune(sound: NDArray[np.floating], rate: int, *, cents: float = 30.0) -> float:
    """Of (N,) samples; 0 where nothing sounds."""
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / rate)
    inside = (frequency >= _LOWEST) & (frequency <= _HIGHEST)
    power, frequency = power[inside], frequency[inside]
    off = 1200 * np.log2(frequency / 440.0) % 100
    near = np.minimum(off, 100 - off) <= cents
    return float(power[near].sum() / max(float(power.sum()), 1e-12))


def voices(sound: NDArray[np.floating], rate: int) -> float:
    """The mean number of tones at once, four times a second; 0 of silence."""
    size = round(_WINDOW * rate)
    loudest = float(np.abs(sound).max(initial=0.0)) or 1.0
    starts = range(0, len(sound) - size + 1, size)
    counts = [len(tones_at(sound[start : start + size] / loudest, rate)) for start in starts]
    return float(np.mean(counts)) if counts else 0.0


def tones_at(sound: NDArray[np.floating], rate: int) -> list[int]:
    """MIDI numbers, the most salient first, of samples (N,) that are no louder than 1."""
    padded = 4 * len(sound)
    window = np.hanning(len(sound))
    left = np.abs(np.fft.rfft(sound * window, padded)) * 2 / window.sum()
    bins, weights = _places(rate, padded)
    found = list[int]()
    first = 0.0
    for _ in range(_MOST):
        peaks = np.stack([left[low:high].max() for low, high in bins.reshape(-1, 2)]).reshape(weights.shape)
        salience = (weights * peaks).sum(1)
        salience[[pitch - _PITCHES[0] for pitch in found]] = 0.0
        best = int(salience.argmax())
        first = first or float(salience[best])
        if salience[best] < max(_SALIENT * first, _SILENT):
            break
        found.append(int(_PITCHES[best]))
        for multiple, ((low, high), peak) in enumerate(zip(bins[best], peaks[best], strict=True), 1):
            centre = low + int(left[low:high].argmax())
            width = 2 * padded // len(sound)  # of the window's line, on either side
            explained = peaks[best, 0] / multiple / max(float(peak), 1e-12)
            left[max(0, centre - width) : centre + width + 1] *= max(0.0, 1.0 - explained)
    return found


def _places(rate: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bins (P, K, 2) within a quarter tone of each partial of each pitch, and its weight (P, K); 0 beyond hearing."""
    tone = 440.0 * 2.0 ** ((_PITCHES[:, None] - 69) / 12)  # (P, 1)
    multiple = np.arange(1, _PARTIALS + 1)
    partial = tone * multiple
    low, high = (np.rint(partial * 2.0 ** (step / 1200) * size / rate).astype(np.int64) for step in (-40, 40))
    low, high = np.minimum(low, size // 2 - 1), np.minimum(high, size // 2 - 1)
    weights = (tone + 27.0) / (partial + 320.0) * (partial < rate / 2)
    return np.stack([low, high + 1], -1), weights
