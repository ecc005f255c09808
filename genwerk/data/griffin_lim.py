"""Griffin-Lim: a sound whose frequencies are as loud as is asked, found by going to and fro until the phases fit.

Source: Griffin and Lim (1984), Signal estimation from modified short-time Fourier transform; Perraudin, Balazs and
Søndergaard (2013), A fast Griffin-Lim algorithm, algorithm 2.

    c_n = G( |Y| t_(n-1) / |t_(n-1)| )             G: to a sound and back to frames, fourier.py
    t_n = c_n + α ( c_n - c_(n-1) )                α = 0 is the algorithm of 1984
    convergence = || |c| - |Y| || / || |Y| ||      0 where there is a sound that is just so

Chosen:   α = 0.99, as its authors do; phases begin at random, from a seed.
Left out: phases that go on from frame to frame as those of steady partials do; a network as a vocoder.
Try it:   pytest tests/data/test_mel.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genwerk.data.fourier import EDGE, frames_to_sound, sound_to_frames
from genwerk.data.mel import amplitudes

__all__ = ["convergence", "griffin_lim", "hear"]


def griffin_lim(
    wanted: NDArray[np.floating], *, rounds: int = 100, alpha: float = 0.99, seed: int = 0
) -> NDArray[np.float64]:
    """(T, F) amplitudes to (N,) samples, see `frames_to_sound`."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, wanted.shape)
    before = here = wanted * np.exp(1j * phases)
    for _ in range(rounds):
        found = sound_to_frames(frames_to_sound(_as_loud(here, wanted)))
        here, before = found + alpha * (found - before), found
    return frames_to_sound(_as_loud(here, wanted))


def convergence(sound: NDArray[np.floating], wanted: NDArray[np.floating]) -> float:
    """Of samples (N,) to amplitudes (T, F); 0 of silence that is wanted."""
    apart = np.linalg.norm(np.abs(sound_to_frames(sound)) - wanted)
    return float(apart / max(float(np.linalg.norm(wanted)), 1e-12))


def hear(picture: NDArray[np.uint8], *, rounds: int = 100) -> NDArray[np.float64]:
    """(BANDS, T) of mel.py to (T HOP,) samples: without the edges, which belong to neighbours."""
    return griffin_lim(amplitudes(picture), rounds=rounds)[EDGE:-EDGE]


def _as_loud(frames: NDArray[np.complexfloating], wanted: NDArray[np.floating]) -> NDArray[np.complex128]:
    return np.asarray(wanted * frames / np.maximum(np.abs(frames), 1e-12))
