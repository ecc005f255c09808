"""Clips that were drawn: does a thing stay what it is, keep to its line and its light, and is it as fast as real ones?

    same digit   share of the frames that are taken for what the most of their clip are taken for
    off the line, flicker, speed   see metrics/motion.py

A frame is told by support vectors that learned from learned clips, one frame of each, its centre of mass moved to the
middle; how many held-out frames they tell right is said.

samples.png   film strips       samples.gif   moving       nearest.png   below each sample its nearest learned clip
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC
from torch import Tensor

from genwerk.core.atomic import write_bytes
from genwerk.core.workspace import Step
from genwerk.evaluation.films import film, strips
from genwerk.evaluation.generator import Sides
from genwerk.evaluation.grids import save_picture
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.scored import Exhibit
from genwerk.metrics.bootstrap import interval
from genwerk.metrics.motion import centres, flicker, off_the_line, speed

__all__ = ["measure_craft"]

_MOVING, _BESIDE = 25, 5
_LIMITS = [
    "A path is judged by the centre of all light: two things that move apart would pass for one between them.",
    "Form is judged by a classifier of single frames: a frame that is no digit is taken for some digit all the same.",
]


def measure_craft(sides: Sides, step: Step) -> tuple[list[Measure], list[Exhibit], list[str]]:
    """Of samples that are clips; writes film strips and a GIF."""
    made, real = _light(sides.made), _light(sides.real)
    how = f"{len(made):,} samples and {len(real):,} held-out clips"
    measures = list[Measure]()
    if len(np.unique(sides.learned_labels)) > 1:
        measures += _same(sides, made, real)
    paths = centres(made), centres(real)
    for name, own, floor in (
        ("off_the_line", off_the_line(paths[0]), off_the_line(paths[1])),
        ("flicker", flicker(made), flicker(real)),
        ("speed", speed(paths[0]), speed(paths[1])),
    ):
        measures.append(Measure.mean(f"clips.{name}", interval(own.tolist()), how, float(floor.mean())))
    return measures, _write(sides, step), _LIMITS


def _same(sides: Sides, made: NDArray[np.float64], real: NDArray[np.float64]) -> list[Measure]:
    learned = _light(sides.learned)
    some = np.random.default_rng(0).integers(0, learned.shape[1], len(learned))
    teller = make_pipeline(PCA(48, random_state=0), SVC(C=4.0))
    teller.fit(_middle(learned[np.arange(len(learned)), some]), sides.learned_labels)
    told = [_told(teller, clips) for clips in (made, real)]  # (N, T)
    right = float((told[1] == sides.labels[:, None]).mean())
    own, floor = (np.array([np.bincount(row).max() / len(row) for row in one]) for one in told)
    how = f"support vectors on frames, which tell {right:.1%} of held-out frames right"
    return [Measure.mean("clips.same_digit", interval(own.tolist()), how, float(floor.mean()))]


def _told(teller: Pipeline, clips: NDArray[np.float64]) -> NDArray[np.int64]:
    count, frames = clips.shape[:2]
    found: NDArray[np.int64] = teller.predict(_middle(clips.reshape(count * frames, *clips.shape[2:])))
    return found.reshape(count, frames)


def _middle(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, H, W) to (M, H W): the centre of mass moved to the middle, by whole pixels."""
    height, width = frames.shape[1:]
    place = centres(frames[:, None])[:, 0].round().astype(int)
    moved = [np.roll(one, (height // 2 - row, width // 2 - column), (0, 1))
             for one, (row, column) in zip(frames, place, strict=True)]  # fmt: skip
    return np.stack(moved).reshape(len(frames), -1)


def _light(clips: Tensor) -> NDArray[np.float64]:
    """(N, T, H, W) from 0 up."""
    found: NDArray[np.float64] = (clips.double().numpy() + 1.0) / 2.0
    return found


def _write(sides: Sides, step: Step) -> list[Exhibit]:
    save_picture(strips([row[0] for row in sides.shown if len(row)]), step.out / "samples.png")
    write_bytes(step.out / "samples.gif", film(list(sides.made[:_MOVING])))
    save_picture(strips([one for row in sides.beside[:_BESIDE] for one in row[:2]]), step.out / "nearest.png")
    return [
        Exhibit("samples.gif", f"The first {_MOVING} of the seed, drawn, not chosen."),
        Exhibit("samples.png", "Drawn, not chosen: a clip a row."),
        Exhibit("nearest.png", "Below each sample the learned clip that is nearest to it, by features."),
    ]
