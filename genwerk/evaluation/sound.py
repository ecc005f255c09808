"""Sound that was drawn as pictures of pitch over time: is it in tune, how many voices are there, and what did the way
back from picture to sound cost?

    in tune, voices   see metrics/tuning.py; of samples, beside held-out bars that went the same way back
    convergence       how far what Griffin-Lim found is from what it was asked for (data/griffin_lim.py)
    way back          the first two of held-out bars that went to a picture and back, beside how they were played: what
                      is lost there is no fault of the network

spectrograms.png   real and drawn, with axes       played.wav, way_back.wav, samples.wav   the same, to be heard
nearest.png        samples, and the learned bars that are nearest to them
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genwerk.core.atomic import write_bytes
from genwerk.core.progress import track
from genwerk.core.workspace import Step
from genwerk.data.fourier import EDGE, RATE
from genwerk.data.griffin_lim import convergence, griffin_lim
from genwerk.data.mel import amplitudes
from genwerk.data.pictures import load_pictures
from genwerk.data.synthesis import wav
from genwerk.evaluation.generator import Sides
from genwerk.evaluation.grids import grid, save_picture
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.scored import Exhibit
from genwerk.evaluation.spectrograms import spectrograms
from genwerk.generators.picture_examples import to_pixels
from genwerk.metrics.bootstrap import interval
from genwerk.metrics.tuning import share_in_tune, voices

__all__ = ["in_a_row", "measure_craft"]

_HEARD, _SHOWN = 100, 4
_PAUSE, _FADE = 0.3, 0.01  # seconds between bars; of fading at their ends
_LIMITS = [
    "Griffin-Lim knows nothing of voices: its sound is hollow, whatever the picture. Compare with real bars that went "
    "the same way.",
    "What is in tune may still be no chord, and a bar is too short to lead anywhere.",
]


def measure_craft(sides: Sides, step: Step) -> tuple[list[Measure], list[Exhibit], list[str]]:
    """Of samples that are sound; writes spectrograms and WAV files."""
    played = np.load(sides.pictures / "heldout-sound.npy")[:_HEARD].astype(np.float64)
    real = np.asarray(load_pictures(sides.pictures, "heldout").pixels[: len(played), 0])
    made = to_pixels(sides.made[:_HEARD, 0])
    found, missed = _back(made, "hearing samples")
    back, usual = _back(real, "hearing held-out bars")
    measures = []
    how = f"{len(made)} samples and {len(real)} held-out bars, both from pictures by Griffin-Lim"
    lost = f"{len(real)} held-out bars through the picture and back; the floor is how they were played"
    for name, of in (("in_tune", share_in_tune), ("voices", voices)):
        own, way, best = ([of(sound, RATE) for sound in some] for some in (found, back, played))
        measures.append(Measure.mean(f"sound.{name}", interval(own), how, float(np.mean(way))))
        measures.append(Measure.mean(f"sound.way_back_{name}", interval(way), lost, float(np.mean(best))))
    measures.append(Measure.mean("sound.convergence", interval(missed), how, float(np.mean(usual))))
    save_picture(spectrograms([("held out", real[:_SHOWN]), ("drawn, not chosen", made[:_SHOWN])]),
                 step.out / "spectrograms.png")  # fmt: skip
    save_picture(grid(sides.beside), step.out / "nearest.png")
    for name, some in (("played", played), ("way_back", back), ("samples", found)):
        write_bytes(step.out / f"{name}.wav", wav(in_a_row(some[:_SHOWN]), RATE))
    return measures, _exhibits(), _LIMITS


def in_a_row(sounds: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """One after the other, with soft ends and a pause between."""
    ramp = np.linspace(0, 1, round(_FADE * RATE))
    parts = list[NDArray[np.float64]]()
    for sound in sounds:
        soft = sound.copy()
        soft[: len(ramp)] *= ramp
        soft[-len(ramp) :] *= ramp[::-1]
        parts += [soft, np.zeros(round(_PAUSE * RATE))]
    return np.concatenate(parts[:-1])


def _back(pictures: NDArray[np.uint8], what: str) -> tuple[list[NDArray[np.float64]], list[float]]:
    """As they sound, and how far that is from what was asked for."""
    sounds, missed = list[NDArray[np.float64]](), list[float]()
    with track(what, total=len(pictures), unit="bars") as bar:
        for picture in pictures:
            wanted = amplitudes(picture)
            sound = griffin_lim(wanted)
            sounds.append(sound[EDGE:-EDGE])
            missed.append(convergence(sound, wanted))
            bar.advance()
    return sounds, missed


def _exhibits() -> list[Exhibit]:
    return [
        Exhibit("spectrograms.png", f"{_SHOWN} held-out bars, and the first {_SHOWN} samples of the seed below them."),
        Exhibit("nearest.png", "First column: a sample; then the five learned bars nearest to it, by features."),
        Exhibit("played.wav", "The held-out bars of the picture as they were played."),
        Exhibit("way_back.wav", "The same after the way to the picture and back: what can be had at best."),
        Exhibit("samples.wav", "The samples below them."),
    ]
