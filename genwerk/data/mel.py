"""Sound as a picture: how loud each band of a scale of pitches is, and back to how loud each frequency is.

Source: Stevens, Volkmann and Newman (1937) for the scale, by the formula of HTK (Young et al., 2006, section 5.4);
Davis and Mermelstein (1980) for the triangles.

    mel(f) = 2595 log10( 1 + f / 700 )
    B[b, f] = max( 0, min( (f - l) / (c - l), (u - f) / (u - c) ) )          l, c, u: three of BANDS + 2 points, evenly
                                                                             apart in mel from LOWEST to HIGHEST
    picture = 255 ( 20 log10( B |Y| ) - QUIET ) / ( LOUD - QUIET )           row 0 is the highest band, as on paper
    |Y| ≈ max( 0, B⁺ 10^(dB / 20) )                                          B⁺ the pseudo-inverse of B

Chosen:   triangles of height 1 (HTK's, not Slaney's of equal area), on amplitudes; 96 bands to 3 kHz, so that tones a
          semitone apart fall into different ones from 200 Hz up, and lower ones are told by their partials.
Left out: pre-emphasis; a scale of semitones, which would know more of music than a mel does.
Try it:   pytest tests/data/test_mel.py
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from genwerk.data.fourier import RATE, WINDOW, sound_to_frames

__all__ = ["BANDS", "HIGHEST", "LOWEST", "amplitudes", "band_middles", "filterbank", "hertz", "mel", "mel_picture"]

BANDS = 96
LOWEST, HIGHEST = 55.0, 3000.0  # Hz
QUIET, LOUD = -70.0, 0.0  # dB, of which 0 is a sine of amplitude 1 in one bin


def mel(frequency: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """Of Hz."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(frequency) / 700.0))


def hertz(place: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """Of mel."""
    return np.asarray(700.0 * (10.0 ** (np.asarray(place) / 2595.0) - 1.0))


def band_middles() -> NDArray[np.float64]:
    """(BANDS,) in Hz, the lowest first."""
    return hertz(np.linspace(mel(LOWEST), mel(HIGHEST), BANDS + 2))[1:-1]


@cache
def filterbank() -> NDArray[np.float64]:
    """(BANDS, WINDOW / 2 + 1): B, the lowest band first."""
    points = hertz(np.linspace(mel(LOWEST), mel(HIGHEST), BANDS + 2))
    lower, middle, upper = (points[place : place + BANDS, None] for place in range(3))
    frequency = np.fft.rfftfreq(WINDOW, 1 / RATE)[None]
    rising, falling = (frequency - lower) / (middle - lower), (upper - frequency) / (upper - middle)
    return np.asarray(np.minimum(rising, falling).clip(min=0.0))


def mel_picture(sound: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(…, N) samples to (…, BANDS, T): white is LOUD, black QUIET or less."""
    bands = np.abs(sound_to_frames(sound)) @ filterbank().T  # (…, T, BANDS)
    level = 20.0 * np.log10(np.maximum(bands, 1e-10))
    grey = (255.0 * (level - QUIET) / (LOUD - QUIET)).clip(0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.swapaxes(grey, -1, -2)[..., ::-1, :])


def amplitudes(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(…, BANDS, T) to (…, T, WINDOW / 2 + 1): |Y|, as near as the bands tell; black is silence."""
    bands = np.swapaxes(picture[..., ::-1, :], -1, -2).astype(np.float64)
    level = np.where(bands > 0, 10.0 ** ((QUIET + bands / 255.0 * (LOUD - QUIET)) / 20.0), 0.0)
    return np.asarray((level @ _inverse().T).clip(min=0.0), np.float64)


@cache
def _inverse() -> NDArray[np.float64]:
    return np.asarray(np.linalg.pinv(filterbank()), np.float64)
